"""Predictors that fail or wait as a test wants."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from core.errors import UnavailableError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from tests.conftest import ROOT

__all__ = ["ControlledPredictor", "unavailable"]


def unavailable() -> ControlledPredictor:
    """Return a predictor that is unavailable until its `error` is set to None."""
    return ControlledPredictor(error=UnavailableError("The predictor cannot be reached."))


class ControlledPredictor(LocalPredictor):
    """A predictor with the models of the repository that fails or waits as told.

    Attributes:
        error: Raised in place of an answer.
        attempts: Number of photos that it was asked about.
    """

    def __init__(self, *, error: Exception | None = None, held: bool = False) -> None:
        settings = Settings(models=ROOT / "models", model="classic")
        super().__init__(Catalog(settings), queue_size=64, deadline_s=30)
        self.error = error
        self.attempts = 0
        self._held = held
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def hold(self) -> None:
        """Let photos wait from now on, until they are released."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """Answer the photos that wait and all that follow."""
        with self._lock:
            self._held = False
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def predict(self, *photos: Any, **options: Any) -> Any:
        await self._wait()
        return await super().predict(*photos, **options)

    async def predict_with_preview(self, *photos: Any, **options: Any) -> Any:
        await self._wait()
        return await super().predict_with_preview(*photos, **options)

    async def _wait(self) -> None:
        self.attempts += 1
        if self.error is not None:
            # The traceback of an earlier attempt would be extended by this one.
            raise self.error.with_traceback(None)
        event = asyncio.Event()
        with self._lock:
            if not self._held:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()
