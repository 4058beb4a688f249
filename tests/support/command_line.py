"""Run `tensight` in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT

__all__ = ["PATIENCE_S", "run_tensight", "start_client", "start_service"]

PATIENCE_S = 300.0
"""Timeout in seconds of a process; far longer than it takes on a busy machine."""


def run_tensight(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `tensight` to its end.

    Args:
        *arguments: Its arguments.
        **environment: Additional environment variables.
    """
    return subprocess.run(
        [sys.executable, "-m", "core.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


def start_client(url: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start `tensight` with a remote predictor; it has no models of its own."""
    here = {"PYTHONPATH": str(ROOT), "TENSIGHT_MODELS": "none", "TENSIGHT_PREDICTOR_URL": url}
    return subprocess.Popen(
        [sys.executable, "-m", "core.cli", *map(str, arguments)],
        env=os.environ | here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_service(
    *arguments: str, program: Sequence[str] = ("core.cli",), **environment: str
) -> subprocess.Popen[str]:
    """Start `tensight serve`.

    Args:
        *arguments: Its arguments.
        program: Module to run, and arguments before `serve`.
        **environment: Additional environment variables.
    """
    return subprocess.Popen(
        [sys.executable, "-m", *program, "serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
