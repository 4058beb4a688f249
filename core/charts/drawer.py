"""Draw charts in worker processes."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from core.charts.chart import Chart

__all__ = ["ChartDrawer"]

logger = logging.getLogger(__name__)

# Environment variables of the worker: it must see no token, key or password.
_KEPT = (
    *("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG"),
    *("HOME", "USERPROFILE", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
)


class ChartDrawer:
    """Draws charts, each in a process of its own, one at a time. Safe to share between threads.

    Args:
        command: Command line of the worker.
        limit_s: Seconds after which a worker is killed. The first one on a machine lists its fonts.
        is_installed: Whether charts can be drawn; None to look for matplotlib.
    """

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "core.charts.worker"),
        *,
        limit_s: float = 60.0,
        is_installed: bool | None = None,
    ) -> None:
        self._command = command
        self._limit_s = limit_s
        if is_installed is None:
            is_installed = importlib.util.find_spec("matplotlib") is not None
        self._is_installed = is_installed
        self._lock = threading.Lock()

    def draw(self, chart: Chart) -> bytes | None:
        """Draw a chart as PNG; None where the extra `charts` is missing, or the worker fails."""
        if not self._is_installed:
            return None
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with self._lock:
            try:
                run = subprocess.run(
                    self._command,
                    input=chart.model_dump_json().encode(),
                    env=environment | {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"},
                    cwd=Path(__file__).resolve().parents[2],
                    capture_output=True,
                    timeout=self._limit_s,
                    check=True,
                )
            except subprocess.TimeoutExpired:
                logger.error("A chart was not drawn within %.0f s", self._limit_s)
            except (OSError, subprocess.CalledProcessError) as error:
                details = getattr(error, "stderr", None) or b""
                logger.error(
                    "A chart was not drawn: %s %s", error, details.decode(errors="replace")
                )
            else:
                return run.stdout
        return None
