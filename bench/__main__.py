"""Measure: python -m bench [SECTION ...]. Run it with nothing else running.

Without names all is measured, and docs/BENCHMARKS.md is written.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from bench.figures import document
from bench.photos import make_photos
from bench.sections import SECTIONS, measure
from core.training.evaluation.provenance import commit, today

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "BENCHMARKS.md"
# What was found out of figures that fall short; written by hand, and put under them.
_FINDINGS = _ROOT / "bench" / "FINDINGS.md"


def main() -> None:
    """Print every figure as a line."""
    names = sys.argv[1:] or list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        sys.exit(f"There is no section {', '.join(unknown)}. Sections: {', '.join(SECTIONS)}.")
    sections = []
    with tempfile.TemporaryDirectory() as folder:
        _forget_settings(Path(folder))
        photos = make_photos(Path(folder))
        for name in names:
            # Each in a process of its own, so that none measures what another left in memory.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                sections.append(pool.apply(measure, (name, photos, Path(folder))))
    if len(names) == len(SECTIONS):
        page = document(sections, today(), commit()) + "\n" + _FINDINGS.read_text("utf-8")
        _PAGE.write_text(page, "utf-8")


def _forget_settings(folder: Path) -> None:
    """Measure what a new user gets: none of this desk's settings, tokens and promoted models."""
    for name in [name for name in os.environ if name.upper().startswith("TENSIGHT_")]:
        del os.environ[name]
    os.environ |= {"TENSIGHT_HOME": str(folder / "home"), "PYTHONPATH": str(_ROOT)}
    os.chdir(folder)  # whose .env is not there


if __name__ == "__main__":
    main()
