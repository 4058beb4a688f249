"""Run `tensight` in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT
from tests.support.forks import Fork

__all__ = ["PATIENCE_S", "run_tensight", "start_client", "start_service"]

PATIENCE_S = 300.0
"""Timeout in seconds of a process; far longer than it takes on a busy machine."""


def run_tensight(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `tensight` to its end.

    Args:
        *arguments: Its arguments.
        **environment: Additional environment variables.
    """
    command = ["-m", "core.cli", *map(str, arguments)]
    if any(name.startswith("PYTHON") for name in environment):  # read when an interpreter starts
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )
    with _start(command, environment) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, process.wait(), out, err)


def start_client(url: str, *arguments: str | Path) -> Fork:
    """Start `tensight` with a remote predictor; it has no models of its own."""
    here = {"TENSIGHT_MODELS": "none", "TENSIGHT_PREDICTOR_URL": url}
    return _start(["-m", "core.cli", *map(str, arguments)], here)


def start_service(
    *arguments: str, program: Sequence[str] = ("core.cli",), **environment: str
) -> Fork:
    """Start `tensight serve`.

    Args:
        *arguments: Its arguments.
        program: Module to run, and arguments before `serve`.
        **environment: Additional environment variables.
    """
    return _start(["-m", *program, "serve", *arguments], environment)


def _start(command: list[str], environment: dict[str, str]) -> Fork:
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return Fork(command, variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
