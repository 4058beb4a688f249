"""Draw charts in worker processes."""

from __future__ import annotations

import importlib.util
import sys
import threading

from core.charts.chart import Chart
from core.worker_process import run_worker

__all__ = ["ChartDrawer"]


class ChartDrawer:
    """Draws charts, each in a process of its own, one at a time. Safe to share between threads.

    Attributes:
        is_installed: Whether charts can be drawn.

    Args:
        command: Command line of the worker.
        timeout_s: Timeout of a worker in seconds; the first one on a machine lists its fonts.
        is_installed: Whether charts can be drawn; None to look for matplotlib.
    """

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "core.charts.worker"),
        *,
        timeout_s: float = 60.0,
        is_installed: bool | None = None,
    ) -> None:
        self._command = command
        self._timeout_s = timeout_s
        if is_installed is None:
            is_installed = importlib.util.find_spec("matplotlib") is not None
        self.is_installed = is_installed
        self._lock = threading.Lock()

    def draw(self, chart: Chart) -> bytes | None:
        """Draw a chart as PNG; None where the extra `charts` is missing, or the worker fails."""
        if not self.is_installed:
            return None
        with self._lock:
            return run_worker(
                self._command,
                chart.model_dump_json().encode(),
                timeout_s=self._timeout_s,
                task="Drawing a chart",
            )
