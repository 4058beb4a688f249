"""A PostgreSQL server for the tests, reached through a Unix socket in its folder."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import wait_for

_USER = "postgres"
# Debian keeps the server's programs out of the path.
_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_PATH = os.pathsep.join([*map(str, reversed(_DEBIAN)), os.environ.get("PATH", os.defpath)])


@dataclass
class Postgres:
    """A server that runs."""

    folder: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def database(self, name: str | None = None) -> str:
        """Create an empty database and return its address; None for a name of its own."""
        name = name or f"test{next(self._numbers)}"
        subprocess.run(
            [_program("createdb"), "-h", self.folder, "-U", "tensight", name], check=True
        )
        return f"postgresql+psycopg://tensight@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        log_file = self.folder / "log"
        with log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(_program("postgres"), "-D", str(self.folder / "data")),
                    *("-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
                cwd="/",
            )
        wait_for(lambda: b"ready to accept" in log_file.read_bytes())

    def stop(self) -> None:
        """Stop the server, without waiting for whoever is connected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


def is_there() -> bool:
    """Return whether the programs are installed, and a user who can run them in place of root."""
    if os.geteuid() == 0 and _USER not in (each.pw_name for each in pwd.getpwall()):
        return False
    return all(shutil.which(name, path=_PATH) for name in ("initdb", "postgres", "createdb"))


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a server while the context is open."""
    # Not in pytest's folder: the path of a socket may have a hundred characters, and the server's
    # own user cannot go there.
    folder = Path(tempfile.mkdtemp(prefix="tensight-postgres-"))
    # It refuses to run as root; Debian's package makes a user for it.
    user = _USER if os.geteuid() == 0 else None
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [_program("initdb"), "-D", data, "-U", "tensight", "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd="/",
        )
        server = Postgres(folder, user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None
    return found
