"""Find drift in a worker process, so that the caller's process does not load SciPy."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from core.rollout.drift_result import DriftReport
from core.rollout.drift_samples import DriftSample
from core.worker_process import run_worker

__all__ = ["REPORTS", "SAMPLES", "DriftProcess"]

logger = logging.getLogger(__name__)

SAMPLES = TypeAdapter(list[DriftSample])
"""Input of the worker as JSON."""

REPORTS = TypeAdapter(list[DriftReport])
"""Output of the worker as JSON."""


class DriftProcess:
    """Compares samples in a worker process. Safe to share between threads.

    Args:
        command: Command line of the worker.
        timeout_s: Timeout of the worker in seconds.
        is_installed: Whether drift can be found; None to look for SciPy.
    """

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "core.rollout.drift_worker"),
        *,
        timeout_s: float = 120.0,
        is_installed: bool | None = None,
    ) -> None:
        self._command = command
        self._timeout_s = timeout_s
        if is_installed is None:
            is_installed = importlib.util.find_spec("scipy") is not None
        self._is_installed = is_installed

    def compare(self, samples: Sequence[DriftSample]) -> list[DriftReport] | None:
        """Compare samples; None where the extra `charts` is missing, or the worker fails."""
        if not samples:
            return []
        if not self._is_installed:
            return None
        content = SAMPLES.dump_json(list(samples))
        output = run_worker(
            self._command, content, timeout_s=self._timeout_s, task="Looking for drift"
        )
        if output is None:
            return None
        try:
            return REPORTS.validate_json(output)
        except ValidationError as error:
            logger.error("The output of the drift worker cannot be read: %s", error)
            return None
