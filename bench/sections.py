"""Registry of benchmark sections by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.figures import Section
from bench.photos import Photos

__all__ = ["SECTIONS", "measure"]

# Module and function by section; imported on demand, since some import every compared library.
SECTIONS = {
    "latency": ("latency", "bytes_to_label"),
    "engines": ("latency", "engines"),
    "decoding": ("latency", "decoding"),
    "throughput": ("throughput", "throughput"),
    "startup": ("startup", "startup"),
    "page": ("page", "page"),
    "live": ("live", "live"),
    "memory": ("memory", "memory"),
    "bot": ("bot", "bot"),
    "shadows": ("shadows", "shadows"),
    "teaching": ("teaching", "teaching"),
    "security": ("security", "security"),
    "scaling": ("scaling", "scaling"),
}


def measure(name: str, photos: Photos, folder: Path) -> Section:
    """Run one section of the benchmarks.

    Args:
        name: One of `SECTIONS`.
        photos: Photos to measure with.
        folder: Folder for temporary files.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    file, function = SECTIONS[name]
    run_section: Callable[[Photos, Path], Section] = getattr(
        import_module(f"bench.{file}"), function
    )
    return run_section(photos, folder)
