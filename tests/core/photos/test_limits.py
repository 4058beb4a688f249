"""Limits on the process that decodes photos, each tried in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from core.photos.limits import *\n{program}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limits on memory are Linux's")
def test_memory_is_limited_in_addition_to_what_is_in_use() -> None:
    program = """
limit_memory(64)
bytearray(16 * 2**20)
try:
    bytearray(128 * 2**20)
except MemoryError:
    print("refused")
"""
    assert run(program).stdout == "refused\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
def test_limited_process_cannot_write_files() -> None:
    program = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit_memory(64)
with open("photo", "wb", buffering=0) as file:
    try:
        file.write(b"x")
    except OSError:
        print("refused")
"""
    assert run(program).stdout == "refused\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_processor_time_ends_the_process_until_it_is_cancelled() -> None:
    spin = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    assert run(f"limit_processor_time(0.05)\n{spin}").returncode == -signal.SIGPROF
    assert run(f"limit_processor_time(0.05)\nlimit_processor_time(0)\n{spin}").returncode == 0
