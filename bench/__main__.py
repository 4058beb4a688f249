"""Measure: python -m bench [SECTION ...]. Run it with nothing else running.

Without names all is measured, and docs/BENCHMARKS.md is written.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.figures import Section, document
from bench.photos import Photos, make_photos
from core.training.origin import commit, today

_PAGE = Path(__file__).parent.parent / "docs" / "BENCHMARKS.md"
# What was found out of figures that fall short; written by hand, and put under them.
_FINDINGS = Path(__file__).parent / "FINDINGS.md"
_SECTIONS = {
    "latency": "bytes_to_label",
    "engines": "engines",
    "decoding": "decoding",
    "throughput": "throughput",
    "startup": "startup",
    "memory": "memory",
    "bot": "bot",
}
_FILES = {"engines": "latency", "decoding": "latency"}


def _measure(name: str, photos: Photos, folder: Path) -> Section:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    file = import_module(f"bench.{_FILES.get(name, name)}")
    work: Callable[[Photos, Path], Section] = getattr(file, _SECTIONS[name])
    return work(photos, folder)


def main() -> None:
    """Print every figure as a line."""
    names = sys.argv[1:] or list(_SECTIONS)
    if unknown := set(names) - set(_SECTIONS):
        sys.exit(f"There is no section {', '.join(unknown)}. Sections: {', '.join(_SECTIONS)}.")
    sections = []
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder))
        for name in names:
            # Each in a process of its own, so that none measures what another left in memory.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                sections.append(pool.apply(_measure, (name, photos, Path(folder))))
    if len(names) == len(_SECTIONS):
        page = document(sections, today(), commit()) + "\n" + _FINDINGS.read_text("utf-8")
        _PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
