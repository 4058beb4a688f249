"""Measure the peak memory of decoding a photo in a new process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["decoded_apart"]

# Not ru_maxrss, which a child process inherits from its parent.
_PROGRAM = """
import re, sys
from core import errors
from core.photos.decode import decode
def peak():
    return int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])
before = peak()
try:
    print(decode(sys.argv[1]).shape[0])
except errors.ImageError as error:
    print(error.code)
print(peak() - before)
"""


def decoded_apart(path: Path) -> tuple[str, float]:
    """Decode a file in a new process: its height or error code, and the memory in MiB."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc/self/status, which only Linux has")
    run = [sys.executable, "-c", _PROGRAM, str(path)]
    outcome, kilobytes = subprocess.run(
        run, capture_output=True, text=True, check=True
    ).stdout.split()
    return outcome, int(kilobytes) / 1024
