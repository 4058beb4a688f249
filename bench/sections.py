"""What there is to measure, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.figures import Section
from bench.photos import Photos

__all__ = ["SECTIONS", "measure"]

# Name -> file and function; imported when measured, as some load all that is compared with.
SECTIONS = {
    "latency": ("latency", "bytes_to_label"),
    "engines": ("latency", "engines"),
    "decoding": ("latency", "decoding"),
    "throughput": ("throughput", "throughput"),
    "startup": ("startup", "startup"),
    "memory": ("memory", "memory"),
    "bot": ("bot", "bot"),
    "security_connections": ("security_connections", "security_connections"),
}


def measure(name: str, photos: Photos, folder: Path) -> Section:
    """Measure one section.

    Args:
        name: One of `SECTIONS`.
        photos: What to measure with.
        folder: For files that it needs.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    file, function = SECTIONS[name]
    work: Callable[[Photos, Path], Section] = getattr(import_module(f"bench.{file}"), function)
    return work(photos, folder)
