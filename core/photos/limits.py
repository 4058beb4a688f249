"""Limits on the memory and time that decoding a photo may take."""

from __future__ import annotations

import mmap
import signal
from dataclasses import dataclass
from pathlib import Path

from core.system import has_resource_limits, lower_limit

__all__ = ["PhotoLimits", "limit_memory", "limit_processor_time"]

_MAX_FILES = 64


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on the worker process that decodes a photo.

    Attributes:
        memory_mb: Address space in megabytes, in addition to that of an idle worker.
        processor_s: Processor time in seconds.
        wall_s: Elapsed time in seconds.
    """

    memory_mb: int = 1024
    processor_s: float = 5.0
    wall_s: float = 20.0


def limit_memory(memory_mb: int) -> None:
    """Limit the address space of this process, and forbid it to write files.

    This has no effect on systems without such limits: Windows has none, macOS ignores the one on
    memory.

    Args:
        memory_mb: Megabytes in addition to the address space that is in use now.
    """
    if not has_resource_limits():
        return
    # A crash must not write a core dump of a gigabyte to the disk.
    lower_limit("RLIMIT_CORE", 0)
    lower_limit("RLIMIT_FSIZE", 0)
    lower_limit("RLIMIT_NOFILE", _MAX_FILES)
    in_use = _address_space()
    if in_use is not None:
        lower_limit("RLIMIT_AS", in_use + memory_mb * 2**20)


def limit_processor_time(seconds: float) -> None:
    """Terminate this process after an amount of processor time, counted from now.

    It receives SIGPROF, whose default action the kernel takes even while a decoder runs.

    Args:
        seconds: Processor time in seconds; 0 to cancel.
    """
    if hasattr(signal, "setitimer"):  # Windows lacks it
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _address_space() -> int | None:
    """Return the size of this process's address space in bytes; None if unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pages * mmap.PAGESIZE
