"""Figures: how they are measured, and how they are written down."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

__all__ = [
    "ROUNDS",
    "Section",
    "alternate",
    "document",
    "environment",
    "process",
    "resident_mb",
]

ROUNDS = 5
_PACKAGES = (
    *("ai-edge-litert", "gradio", "keras", "litserve", "numpy", "openvino", "pillow"),
    *("python-telegram-bot", "tensorflow", "uvicorn"),
)


@dataclass
class Section:
    """What is measured, and what came of it.

    Attributes:
        title: Of what.
        how: How it is measured.
        rows: What, figure and unit, what was wanted.
        notes: What else there is to say of them.
    """

    title: str
    how: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, wanted: str = "") -> None:
        """Put a figure down, and print it.

        Args:
            what: Of what it is.
            value: Of any size; three digits of it are shown, and no fewer than its whole ones.
            unit: ms, MB, photos/s and so on; `times` for ratios.
            wanted: What the figure should be, in words.
        """
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        shown = f"{value:,.{digits}f} {unit}"
        self.rows.append((what, shown, wanted))
        sys.stdout.write(f"{what:<74} {shown:>16}{f'   ({wanted})' if wanted else ''}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Put a sentence under the figures, and print it."""
        self.notes.append(text)
        sys.stdout.write(f"{text}\n")


def alternate(
    works: Mapping[str, Callable[[], object]], *, calls: int = 1, rounds: int = ROUNDS
) -> dict[str, float]:
    """Median seconds of a call of each work.

    In each round every work has its turn, so that all see the same machine.

    Args:
        works: By name.
        calls: How often a work is called in its turn; the mean of them counts.
        rounds: How many turns each has.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(calls):
                work()
            times[name].append((time.perf_counter() - started) / calls)
    return {name: statistics.median(taken) for name, taken in times.items()}


def process(command: list[str], **environment: str) -> tuple[float, float]:
    """Seconds, and peak resident megabytes, of a process that must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * kilobyte / 2**20


def resident_mb(pid: int) -> float:
    """Resident megabytes of a process and of those that it started; shared ones count in each."""
    told = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in told.stdout.splitlines()]
    family = {pid}
    while more := {child for child, parent, _ in rows if parent in family} - family:
        family |= more
    return sum(kilobytes for each, _, kilobytes in rows if each in family) / 1024


def environment() -> str:
    """Processor, system and versions, in a sentence."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}"
    )


def document(sections: list[Section], date: str, commit: str) -> str:
    """Content of docs/BENCHMARKS.md."""
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {date}, code {commit}, with nothing else running; do not edit. "
        f"Medians of {ROUNDS} rounds in which all take turns, unless said otherwise. "
        f"Machine and versions: {environment()}.",
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.how, ""]
        lines += ["| what | figure | wanted |", "| --- | ---: | --- |"]
        lines += [
            f"| {what.strip()} | {shown} | {wanted} |" for what, shown, wanted in section.rows
        ]
        for note in section.notes:
            lines += ["", note]
    return "\n".join(lines) + "\n"
