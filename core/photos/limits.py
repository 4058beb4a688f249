"""Limits on the memory and time that decoding a photo may take."""

from __future__ import annotations

import mmap
import signal
from dataclasses import dataclass
from pathlib import Path

from core.system import has_resource_limits, lower_limit

__all__ = ["PhotoLimits", "bound_memory", "processor_time"]

_MAX_FILES = 64


@dataclass(frozen=True)
class PhotoLimits:
    """What one photo may cost the worker process that decodes it.

    Attributes:
        memory_mb: Megabytes of address space, beside what the worker needs without a photo.
        processor_s: Seconds of processor time.
        wall_s: Seconds until the answer must be there.
    """

    memory_mb: int = 1024
    processor_s: float = 5.0
    wall_s: float = 20.0


def bound_memory(memory_mb: int) -> None:
    """Bound the address space of this process from now on, and let it write no files.

    Nothing happens on systems that cannot: Windows has no such limit, macOS does not keep it.
    """
    if not has_resource_limits():
        return
    # A crash must not write a core dump of a gigabyte to the disk.
    lower_limit("RLIMIT_CORE", 0)
    lower_limit("RLIMIT_FSIZE", 0)
    lower_limit("RLIMIT_NOFILE", _MAX_FILES)
    held = _address_space()
    if held is not None:
        lower_limit("RLIMIT_AS", held + memory_mb * 2**20)


def processor_time(seconds: float) -> None:
    """End this process once it has used so much processor time from now; 0: no longer.

    It ends by SIGPROF, whose default the kernel applies even while a decoder runs.
    """
    if hasattr(signal, "setitimer"):  # Windows lacks it
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pages * mmap.PAGESIZE
