"""The browser that benchmarks measure pages with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager

from playwright.sync_api import Browser, sync_playwright

from bench.figures import Section
from tests.support.chromium import FLAGS

__all__ = ["chromium"]


@contextmanager
def chromium(section: Section) -> Iterator[Browser | None]:
    """Run Debian's Chromium within a block; without it, say so in a section and yield None."""
    path = shutil.which("chromium")
    if path is None:
        section.note("Not measured: Debian's package chromium is not installed.")
        yield None
        return
    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=path, args=FLAGS)) as browser,
    ):
        yield browser
