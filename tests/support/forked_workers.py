"""Run the short-lived workers of a process as forks of one that has imported their packages."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from core import worker_process
from core.teaching import learning
from tests.support.forks import Fork

__all__ = ["forked_workers"]

_MODULES = {"core.charts.worker", "core.rollout.drift_worker", "core.teaching.worker"}
_run = subprocess.run


@contextmanager
def forked_workers() -> Iterator[None]:
    """Fork the workers that learn, draw charts and look for drift, instead of starting Python.

    SciPy, scikit-learn and Matplotlib take seconds to import, and the workers a tenth of one.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (learning, worker_process):
            patch.setattr(module, "subprocess", _Subprocess(_run_worker))
        yield


class _Subprocess:
    """Stands for the module `subprocess`, with another `run`."""

    def __init__(self, run: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)


def _run_worker(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Do as `subprocess.run` does with the options of the workers."""
    if len(command) != 3 or command[2] not in _MODULES:
        return _run(command, **options)
    return _run_forked(command, **{name: options[name] for name in _OPTIONS})


_OPTIONS = ("env", "cwd", "input", "timeout", "check")


def _run_forked(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    input: bytes,  # noqa: A002  # as `subprocess.run` names it
    timeout: float,
    check: bool,
) -> subprocess.CompletedProcess[bytes]:
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        Fork(
            command[1:],
            env,
            folder=cwd,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            kind="workers",
        ) as fork,
    ):
        assert isinstance(fork.stdin, TextIOWrapper)
        with fork.stdin:
            fork.stdin.buffer.write(input)
        try:
            fork.wait(timeout)
        except subprocess.TimeoutExpired:
            fork.kill()
            raise
        for stream in (stdout, stderr):
            stream.seek(0)
        completed = subprocess.CompletedProcess(
            list(command), fork.wait(), stdout.read(), stderr.read()
        )
    if check:
        completed.check_returncode()
    return completed
