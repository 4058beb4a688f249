"""Replicas of the HTTP service as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import ROOT
from tests.support.servers import free_port, wait_for

__all__ = ["Replica", "replica"]


class Replica:
    """A replica that can be started again at the same port.

    Args:
        folder: Folder for its log.
        settings: Environment variables.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._settings = settings
        self.port = free_port()
        self._log = folder / f"{self.port}.log"
        self._process = self._start()

    @property
    def address(self) -> str:
        """Address that it listens at."""
        return f"127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Wait until its model is loaded."""
        wait_for(lambda: self._process.poll() is not None or self._is_ready(), seconds=300)
        assert self._process.poll() is None, self._log.read_text()

    def restart(self) -> None:
        """Stop it as systemd does, and start it again, without waiting until it is ready."""
        self.stop()
        self._process = self._start()

    def kill(self) -> None:
        """Kill it in the middle of its work."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it after it has answered the accepted requests."""
        self._process.terminate()
        self._process.wait(120)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/readyz", timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "core.cli", "serve", "--port", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ
                | {"PYTHONPATH": str(ROOT), "TENSIGHT_MODEL": "classic"}
                | self._settings,
            )


@contextmanager
def replica(folder: Path, **settings: str) -> Iterator[Replica]:
    """Run a replica while the context is open."""
    running = Replica(folder, **settings)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
