"""Options of the Chromium that tests and benchmarks start."""

from __future__ import annotations

__all__ = ["FLAGS"]

FLAGS = [
    # A root user's Chromium needs it.
    "--no-sandbox",
    "--disable-gpu",
    # Keep it from calling home.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
"""Command line options."""
