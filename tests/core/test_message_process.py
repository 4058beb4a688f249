"""Worker processes that are asked by messages, with small programs in place of workers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.message_process import MessageProcess
from core.system import stop_signals

READY = (
    "import sys; from core.messages import write_message\nwrite_message(sys.stdout.buffer, {})\n"
)


@contextmanager
def worker(program: str) -> Iterator[MessageProcess]:
    process = MessageProcess([sys.executable, "-c", program], start_s=120.0, answer_s=120.0)
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
