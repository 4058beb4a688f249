"""Measurement helpers, and the sections of docs/BENCHMARKS.md."""

from __future__ import annotations

import mmap
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "ROUNDS",
    "Section",
    "alternate",
    "environment",
    "measure_process",
    "processor_s",
    "resident_mb",
    "write_section",
    "write_tables",
]

ROUNDS = 5
_PACKAGES = (
    *("ai-edge-litert", "gradio", "keras", "litserve", "numpy", "openvino", "pillow"),
    *("python-telegram-bot", "ray", "tensorflow", "uvicorn"),
)


@dataclass
class Section:
    """A section of the benchmarks with its results.

    Attributes:
        title: Heading.
        method: Description of how the results were measured.
        rows: Name, value with unit, and target of each result.
        notes: Remarks below the table.
    """

    title: str
    method: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, target: str = "") -> None:
        """Add a result and print it.

        Args:
            name: Name of the result.
            value: The result; at least three significant digits are shown, and all integer digits.
            unit: Unit such as ms, MB or photos/s; `times` for ratios.
            target: Target in words; empty for none.
        """
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        shown = f"{value:,.{digits}f} {unit}"
        self.rows.append((name, shown, target))
        sys.stdout.write(f"{name:<74} {shown:>16}{f'   ({target})' if target else ''}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Add a remark below the table and print it."""
        self.notes.append(text)
        sys.stdout.write(f"{text}\n")


def alternate(
    functions: Mapping[str, Callable[[], object]], *, calls: int = 1, rounds: int = ROUNDS
) -> dict[str, float]:
    """Time several functions in alternating rounds, so that all see the same machine load.

    Each function is called once before the first round as a warm-up.

    Args:
        functions: Functions by name.
        calls: Calls of each function in a round; their mean is one sample.
        rounds: Number of rounds.

    Returns:
        Median duration of a call in seconds, by name.
    """
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            for _ in range(calls):
                function()
            durations[name].append((time.perf_counter() - started) / calls)
    return {name: statistics.median(taken) for name, taken in durations.items()}


def measure_process(command: list[str], **environment: str) -> tuple[float, float]:
    """Run a process and measure it.

    Args:
        command: Command line.
        **environment: Additional environment variables.

    Returns:
        Wall time in seconds, and peak resident memory in MiB.

    Raises:
        RuntimeError: The process failed.
    """
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
        raise RuntimeError(f"{' '.join(command)} exited with status {child.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * kilobyte / 2**20


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants in MiB.

    Pages that several processes share count once for each of them.

    Args:
        pid: Id of the process.
    """
    rows = list(_processes())
    tree = _process_tree(pid, rows)
    return sum(size for each, _, size in rows if each in tree) / 2**20


def processor_s(pid: int) -> float:
    """Return the processor time of a process and its running descendants in seconds.

    Args:
        pid: Id of the process.

    Raises:
        RuntimeError: This system has no /proc.
    """
    if not Path("/proc/self/stat").is_file():
        raise RuntimeError("Processor time is read from /proc, which this system does not have.")
    ticks = 0
    for each in _process_tree(pid, list(_processes())):
        with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
            fields = Path(f"/proc/{each}/stat").read_text("ascii", errors="replace")
            ticks += sum(map(int, fields.rpartition(") ")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _process_tree(pid: int, rows: list[tuple[int, int, int]]) -> set[int]:
    """Return the ids of a process and its descendants."""
    tree = {pid}
    while more := {child for child, parent, _ in rows if parent in tree} - tree:
        tree |= more
    return tree


def _processes() -> Iterator[tuple[int, int, int]]:
    """Yield id, parent's id and resident bytes of every process; from /proc if there is one."""
    if not Path("/proc/self/stat").is_file():
        command = ["ps", "-A", "-o", "pid=,ppid=,rss="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            pid, parent, kilobytes = map(int, line.split())
            yield pid, parent, kilobytes * 1024
        return
    # Faster than `ps`, since this is sampled while other processes are measured.
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text("ascii", errors="replace").rpartition(") ")[2].split()
        except OSError:
            continue  # the process has ended
        yield int(file.parent.name), int(fields[1]), int(fields[21]) * mmap.PAGESIZE


def environment() -> str:
    """Describe processor, operating system, Python and package versions in a sentence."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    versions = ", ".join(_versions())
    return (
        f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}"
    )


def _versions() -> Iterator[str]:
    """Yield name and version of each compared package that is installed."""
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{package} {version(package)}"


def write_section(section: Section, name: str, page: Path, date: str, commit: str) -> None:
    """Replace a section of docs/BENCHMARKS.md.

    Args:
        section: The measured section.
        name: Its name on the command line.
        page: The page.
        date: Date of the run.
        commit: Git commit of the code.

    Raises:
        ValueError: The page does not have the markers of the section.
    """
    rows = [f"| {name.strip()} | {shown} | {target} |" for name, shown, target in section.rows]
    table = ["| measurement | value | target |", "| --- | ---: | --- |", *rows]
    measured = f"Measured on {date}, code {commit}: {environment()}."
    write_tables(
        [f"## {section.title}", section.method, "\n".join(table), *section.notes, measured],
        page,
        section=name,
    )


def write_tables(
    paragraphs: Sequence[str], page: Path, *, section: str, command: str | None = None
) -> None:
    """Replace the measurements in a page.

    Args:
        paragraphs: Texts and tables in Markdown.
        page: The page.
        section: Name of the section of the benchmarks, which the page's two markers contain.
        command: Command that writes the section; None for `python -m bench SECTION`.

    Raises:
        ValueError: The page does not have its two markers.
    """
    markers = [f"<!-- bench {section}: {which} -->" for which in ("begin", "end")]
    before, begin, rest = page.read_text("utf-8").partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not (begin and end):
        raise ValueError(f"{page} does not contain {' and '.join(markers)}. Restore it with git.")
    command = command or f"python -m bench {section}"
    generated = f"Generated by `{command}`; do not edit."
    written = "\n\n".join([generated, *paragraphs])
    page.write_text(f"{before}{begin}\n{written}\n{end}{after}", "utf-8")
