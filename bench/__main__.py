"""Measure: python -m bench. Run it with nothing else running."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.photos import make_photos
from core import images
from core.catalog import Catalog
from core.settings import Settings

ROUNDS = 7


def main() -> None:
    """Print every figure as a line."""
    with tempfile.TemporaryDirectory() as folder:
        plain, progressive = Path(folder) / "plain.jpg", Path(folder) / "progressive.jpg"
        # In a process of its own: a child's peak memory, as the system counts it, is at least what
        # its parent held when it was started.
        maker = multiprocessing.get_context("spawn").Process(
            target=make_photos, args=(plain, progressive)
        )
        maker.start()
        maker.join()
        start_up(plain)
        decoding("baseline", plain, " (at least 1.5)")
        decoding("progressive", progressive, "")


def start_up(photo: Path) -> None:
    """A whole `tensight predict` against what other programs pay before they can begin."""
    predict = [sys.executable, "-m", "core.cli", "predict", str(photo), "--json"]
    tensorflow = [sys.executable, "-c", "import tensorflow"]
    ours, theirs, peaks = [], [], []
    process(predict), process(tensorflow)  # both are in the page cache from here on
    for _ in range(ROUNDS):
        seconds, peak = process(predict)
        ours.append(seconds)
        peaks.append(peak)
        theirs.append(process(tensorflow)[0])
    say("cold start, tensight predict of a 12-megapixel photo", statistics.median(ours) * 1e3, "ms")
    say("cold start, import tensorflow", statistics.median(theirs) * 1e3, "ms")
    say("  ratio (at most 0.25)", statistics.median(ours) / statistics.median(theirs), "")
    say("peak resident memory of tensight predict (under 250)", max(peaks) / 2**20, "MB")


def decoding(kind: str, photo: Path, aim: str) -> None:
    """Decoding at reduced scale against decoding the whole."""
    classifier = Catalog(Settings.read()).load()
    data = photo.read_bytes()
    reduced, whole = alternate(lambda: classifier.decode(data), lambda: images.decode(data))
    say(f"decode 12 megapixels, {kind}, {len(data) / 1e6:.1f} MB, whole", whole * 1e3, "ms")
    say(f"decode 12 megapixels, {kind}, reduced", reduced * 1e3, "ms")
    say(f"  ratio{aim}", whole / reduced, "")


def alternate(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each work, one round after the other, so that all see the same machine."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(ROUNDS):
        for work, taken in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def process(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a process that must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * kilobyte


def say(what: str, value: float, unit: str) -> None:
    """One line of the result."""
    sys.stdout.write(f"{what:<60} {value:10.2f} {unit}\n")


if __name__ == "__main__":
    main()
