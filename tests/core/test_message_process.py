"""Worker processes that are asked by messages, with small programs in place of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from core.message_process import MessageProcess
from core.system import stop_signals
from tests.conftest import ROOT
from tests.support.processes import is_running, wait_until

READY = (
    "import sys; from core.messages import write_message\nwrite_message(sys.stdout.buffer, {})\n"
)
# Says its process id, and waits for a question.
WORKER = """
import os, sys
from core.messages import read_message, write_message
from core.system import become_worker
become_worker(2**32)
write_message(sys.stdout.buffer, {"process": os.getpid()})
read_message(sys.stdin.buffer, max_bytes=0)
"""


@contextmanager
def worker(program: str) -> Iterator[MessageProcess]:
    process = MessageProcess(
        [sys.executable, "-c", program], start_timeout_s=120.0, answer_timeout_s=120.0
    )
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("number", stop_signals(), ids=lambda each: each.name)
def test_stop_signal_does_not_end_a_worker_that_starts(number: signal.Signals) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    # As if its group got a signal while it imports its modules.
    signalled = f"import os; os.kill(os.getpid(), {int(number)})\n"
    with worker(signalled + READY) as process:
        assert process.start() == {}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_worker_outlives_the_thread_that_starts_it() -> None:
    with worker(WORKER + "write_message(sys.stdout.buffer, {'process': os.getpid()})") as process:
        ready: list[dict[str, object]] = []
        thread = threading.Thread(target=lambda: ready.append(process.start()))
        thread.start()
        thread.join()
        assert process.ask({})[0] == ready[0], "the same process"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_killed_parent_leaves_no_spinning_worker(tmp_path: Path) -> None:
    note = tmp_path / "process"
    spins = f"open({str(note)!r}, 'w').write(str(os.getpid()))\nwhile True: pass\n"
    parent = (
        "import sys; from core.message_process import MessageProcess\n"
        "command = [sys.executable, '-c', sys.argv[1]]\n"
        "MessageProcess(command, start_timeout_s=600.0, answer_timeout_s=600.0).ask({})\n"
    )
    command = [sys.executable, "-c", parent, WORKER + spins]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            wait_until(lambda: note.is_file() and note.read_text() != "")
        finally:
            process.kill()
    number = int(note.read_text())
    try:
        wait_until(lambda: not is_running(number), seconds=60)
    finally:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
