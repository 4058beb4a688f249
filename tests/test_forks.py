"""Processes that tests fork from one that has imported their packages."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.forks import Fork


def fork(program: str, *arguments: str, folder: Path | None = None, **environment: str) -> Fork:
    """Fork a process that runs code, with pipes for its streams."""
    pipes = subprocess.PIPE
    return Fork(
        ["-c", program, *arguments],
        environment,
        folder=folder,
        stdin=pipes,
        stdout=pipes,
        stderr=pipes,
    )


def test_fork_has_streams_environment_and_folder_of_its_own(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "print(input(), sys.argv, dict(os.environ), os.getcwd())\n"
        "print('told', file=sys.stderr)\n"
    )
    with fork(program, "one", folder=tmp_path, NAME="value") as process:
        assert process.communicate("given\n", timeout=120) == (
            f"given ['-c', 'one'] {{'NAME': 'value'}} {tmp_path}\n",
            "told\n",
        )
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit, os; atexit.register(os._exit, 4)", 4, ""),
    ],
)
def test_fork_ends_as_a_program_does(program: str, status: int, said: str) -> None:
    with fork(program) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == status
    assert said in err


def test_fork_is_stopped_by_signals() -> None:
    with fork("print('begins', flush=True)\ninput()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.terminate()
        assert process.wait(120) == -signal.SIGTERM
        process.kill()  # has no effect any more
