from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from core import system
from core.errors import UnsupportedSystemError
from tests.support.structure import MODULES


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )


def test_modules_can_be_imported_without_unix_modules() -> None:
    names = [n for n in MODULES if n.startswith(("core.", "bot.", "demo."))]
    # Training needs an extra, migrations run inside Alembic, and `__main__` runs the program.
    # The package `mcp`, an extra, decides by the platform what it imports.
    left_out = (
        *("core.training", "core.store.migrations", "core.cli.__main__"),
        *("core.serving.mcp", "demo.mcp"),
    )
    names = [name for name in names if not name.startswith(left_out)]
    program = (
        "import importlib, sys\n"
        "sys.modules['resource'] = sys.modules['fcntl'] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_missing_unix_module_raises_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert not system.has_resource_limits()
    assert system.open_file_limit() is None
    for use in (system.peak_memory_bytes, lambda: system.lower_limit("RLIMIT_CORE", 0)):
        with pytest.raises(UnsupportedSystemError, match=r"Python's module resource.*Run TenSight"):
            use()


@pytest.mark.skipif(not system.has_resource_limits(), reason="this system has no resource limits")
def test_lower_limit_keeps_a_hard_limit_below_it() -> None:
    program = (
        "import resource\n"
        "from core.system import lower_limit, open_file_limit\n"
        "lower_limit('RLIMIT_NOFILE', 100)\n"
        "lower_limit('RLIMIT_NOFILE', 200)\n"
        "print(open_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = run(program)
    assert done.stdout == "100 (100, 100)\n", done.stderr


def test_peak_memory_is_that_of_this_process() -> None:
    assert system.peak_memory_bytes() > 10 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_worker_whose_parent_has_ended_before_ends() -> None:
    program = "from core.system import become_worker; become_worker(2**32); print('works')"
    (name,) = system.parent_variable()
    for parent, output in ((os.getpid(), "works\n"), (os.getppid(), "")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {name: str(parent)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stdout == output, done.stderr


def test_stop_signal_calls_the_function() -> None:
    stopped = threading.Event()
    before = {number: signal.getsignal(number) for number in system.stop_signals()}
    try:
        system.on_stop_signal(stopped.set)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(120)
        system.ignore_stop_signals()
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread here")
def test_stop_signal_that_another_thread_receives_ends_the_wait() -> None:
    done = run(
        "import signal, threading, time\n"
        "from core import system\n"
        "stopped = threading.Event()\n"
        "system.on_stop_signal(stopped.set)\n"
        "def receive():\n"
        "    time.sleep(0.5)\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=receive, daemon=True).start()\n"
        "system.wait_until_stopped(stopped)\n"
        "print('stopped')\n"
    )
    assert done.stdout == "stopped\n", done.stderr


def test_stop_signal_while_the_event_is_locked_does_not_deadlock() -> None:
    program = (
        "import signal, threading\n"
        "from core import system\n"
        "stopped = threading.Event()\n"
        "system.on_stop_signal(stopped.set)\n"
        "with stopped._cond:\n"  # as the first and the last instructions of `wait` do
        "    signal.raise_signal(signal.SIGTERM)\n"
        "print(stopped.wait(60))"
    )
    assert run(program).stdout == "True\n"
