"""Features that not every operating system has: stop signals, resource limits and pipe sizes.

Windows has neither SIGHUP nor the modules `resource` and `fcntl`. They are used here alone and
loaded on first use, so that every other module can be imported on any system.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Literal

from core.errors import UnsupportedSystemError

__all__ = [
    "ResourceLimit",
    "become_background_worker",
    "become_worker",
    "has_resource_limits",
    "ignore_stop_signals",
    "lower_limit",
    "on_stop_signal",
    "open_file_limit",
    "parent_variable",
    "peak_memory_bytes",
    "processor_name",
    "set_pipe_size",
    "stop_signals",
    "stop_signals_blocked",
    "wait_until_stopped",
]

_LOWEST_PRIORITY = 19
_PARENT = "WORKER_PARENT"
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_WAKE_S = 0.5

ResourceLimit = Literal["RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE"]
"""Name of a resource limit, as in the standard library's module `resource`."""


def stop_signals() -> list[signal.Signals]:
    """Return the signals of this system that ask a process to stop."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is sent when a terminal is closed
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def on_stop_signal(stop: Callable[[], object]) -> None:
    """Call a function whenever this process is asked to stop; only from the main thread.

    Args:
        stop: Called in a thread of its own, once for each signal.
    """
    # A handler interrupts the main thread anywhere, so it must not wait for a lock that this thread
    # may hold. `threading.Event.set` does; `SimpleQueue.put` is reentrant.
    requests: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        while True:
            requests.get()
            stop()

    threading.Thread(target=work, name="stop signals", daemon=True).start()
    for number in stop_signals():
        signal.signal(number, lambda *_: requests.put(None))


def wait_until_stopped(stopped: threading.Event) -> None:
    """Wait in the main thread for an event that a stop signal sets.

    The system may deliver a signal to any thread, and Python handles it in the main thread, which
    it does not wake up for this. So the main thread must not wait without a limit.

    Args:
        stopped: Set by a function that was passed to `on_stop_signal`, or by other code.
    """
    while not stopped.wait(_WAKE_S):
        pass


def ignore_stop_signals() -> None:
    """Ignore signals that ask this process to stop; only from the main thread."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Block stop signals in this thread while the context is open.

    A process that is started in it never gets one, whoever signals its group: it inherits the
    blocked signals. Windows does not send them to single processes.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_resource_limits() -> bool:
    """Return whether this system has resource limits for processes."""
    return importlib.util.find_spec("resource") is not None


def lower_limit(limit: ResourceLimit, value: int) -> None:
    """Lower a resource limit of this process; a hard limit below it stays as it is.

    Args:
        limit: Name of the limit.
        value: New limit, in the unit of the limit: bytes, seconds or files.

    Raises:
        UnsupportedSystemError: This system has no resource limits.
        OSError, ValueError: This system lacks this limit or does not let it be set.
    """
    resource = _unix_module("resource")
    which = getattr(resource, limit)
    _, hard = resource.getrlimit(which)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bound, bound))


def become_background_worker(memory: int) -> None:
    """Do as `become_worker`, and give this process the lowest priority.

    Args:
        memory: Maximum address space in bytes.
    """
    become_worker(memory)
    with suppress(OSError, AttributeError):  # Windows has no priorities of this kind
        os.nice(_LOWEST_PRIORITY)


def parent_variable() -> dict[str, str]:
    """Return the environment variable that tells a worker of this process who its parent is."""
    return {_PARENT: str(os.getpid())}


def become_worker(memory: int) -> None:
    """Give this process a memory limit, and ignore stop signals: its parent ends it.

    On Linux it also ends with the thread that started it, however busy it is, so that a parent that
    is killed leaves no worker behind. Limits that the system lacks are left out.

    Args:
        memory: Maximum address space in bytes.
    """
    ignore_stop_signals()
    _end_with_parent()
    limits: tuple[tuple[ResourceLimit, int], ...] = (("RLIMIT_AS", memory), ("RLIMIT_CORE", 0))
    for limit, value in limits:
        with suppress(ValueError, OSError, UnsupportedSystemError):
            lower_limit(limit, value)


def _end_with_parent() -> None:
    """Let Linux kill this process when the thread that started it ends."""
    if sys.platform != "linux":
        return
    with suppress(OSError):  # also where Python was built without ctypes
        ctypes = _unix_module("ctypes")
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
    parent = os.environ.get(_PARENT)
    if parent is not None and os.getppid() != int(parent):
        os._exit(1)  # it ended before


def open_file_limit() -> int | None:
    """Return how many files this process may open; None for no limit."""
    if not has_resource_limits():
        return None
    resource = _unix_module("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else int(soft)


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process.

    Raises:
        UnsupportedSystemError: This system does not record it.
    """
    resource = _unix_module("resource")
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def processor_name() -> str:
    """Return the model name of this machine's processor, or else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def set_pipe_size(pipe: BinaryIO, size: int) -> None:
    """Set the capacity of a pipe in bytes, where the system and the user's quota allow it."""
    if sys.platform == "linux":
        fcntl = _unix_module("fcntl")
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)


def _unix_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedSystemError(
            f"This needs Python's module {name}, which {sys.platform} does not have. Run TenSight "
            "on Linux or macOS, or in WSL."
        ) from error
