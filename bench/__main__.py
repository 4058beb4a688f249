"""Run the benchmarks: `python -m bench [SECTION ...]`, on an otherwise idle machine.

Without section names, all sections run. Each replaces its tables in docs/BENCHMARKS.md.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from bench.figures import write_section
from bench.photos import make_photos
from bench.sections import SECTIONS, measure
from core.training.evaluation.provenance import commit, today

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "BENCHMARKS.md"


def main() -> None:
    """Run the sections named on the command line and print their results."""
    names = sys.argv[1:] or list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        sys.exit(
            f"Unknown section: {', '.join(sorted(unknown))}. Choose from: {', '.join(SECTIONS)}."
        )
    with tempfile.TemporaryDirectory() as folder:
        _forget_settings(Path(folder))
        photos = make_photos(Path(folder))
        for name in names:
            # Each section runs in its own process, so that none starts with another's memory.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                section = pool.apply(measure, (name, photos, Path(folder)))
            write_section(section, name, _PAGE, today(), commit())


def _forget_settings(folder: Path) -> None:
    """Reset the environment to the defaults: no settings, tokens or promoted models.

    Args:
        folder: Becomes the working directory and holds TENSIGHT_HOME.
    """
    for name in [name for name in os.environ if name.upper().startswith("TENSIGHT_")]:
        del os.environ[name]
    os.environ |= {"TENSIGHT_HOME": str(folder / "home"), "PYTHONPATH": str(_ROOT)}
    os.chdir(folder)  # a folder without an .env file


if __name__ == "__main__":
    main()
