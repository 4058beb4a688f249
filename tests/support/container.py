"""Containers of an image that buildah has built, started by runc as a container engine does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import wait_for
from tests.support.tools import require

__all__ = ["Container", "container", "unpacked"]


@dataclass(frozen=True)
class Container:
    """A running container.

    Attributes:
        name: Its name.
        volume: Folder that is its volume /data.
        process: The process that started it.
        log: File with what it prints.
    """

    name: str
    volume: Path
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return _run("runc", "exec", self.name, *command, check=False)


@contextmanager
def unpacked(image: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Unpack an image; yield the folder of its root, and its configuration."""
    inspected = _run("buildah", "inspect", "--type", "image", image).stdout
    name = _run("buildah", "from", "--pull-never", image).stdout.strip()
    try:
        root = Path(_run("buildah", "mount", name).stdout.strip())
        yield root, json.loads(inspected)["Docker"]["config"]
    finally:
        _run("buildah", "umount", name)
        _run("buildah", "rm", name)


@contextmanager
def container(
    image: str, folder: Path, command: Sequence[str] | None = None, **environment: str
) -> Iterator[Container]:
    """Run a container on this machine's network, as deploy/compose.yml says: its root is read-only.

    Args:
        image: Name of the image.
        folder: Folder to make for its files.
        command: Command; None for that of the image.
        environment: Variables besides those of the image.
    """
    volume = folder / "volume"
    volume.mkdir(mode=0o700, parents=True)
    name = f"tensight-test-{os.getpid()}"
    with unpacked(image) as (root, configuration):
        user, group = map(int, configuration["User"].split(":"))
        os.chown(volume, user, group)
        _run("runc", "spec", "--bundle", str(folder))
        file = folder / "config.json"
        spec = json.loads(file.read_text())
        spec["root"] = {"path": str(root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": user, "gid": group},
            "args": [*configuration["Entrypoint"], *(command or configuration["Cmd"])],
            "env": [*configuration["Env"], *(f"{k}={v}" for k, v in environment.items())],
            "cwd": configuration["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [],
        }
        (mounted,) = configuration["Volumes"]
        spec["mounts"].append(
            {"destination": mounted, "type": "bind", "source": str(volume), "options": ["bind"]}
        )
        namespaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "network"]
        file.write_text(json.dumps(spec))
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [require("runc"), "run", "--bundle", str(folder), name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(
                lambda: (
                    process.poll() is not None
                    or '"running"' in _run("runc", "state", name, check=False).stdout
                )
            )
            yield Container(name, volume, process, log)
        finally:
            if process.poll() is None:
                _run("runc", "kill", name, "KILL", check=False)
            process.wait(60)


def _run(program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [require(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check)
