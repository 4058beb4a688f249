"""Short-lived cache of the predictor's models."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from core.bundle.leaderboard import ModelInfo, selectable
from core.errors import PredictorError, UnavailableError
from core.registry.taught import is_private
from core.serving.predictor import Predictor, find_model

__all__ = ["ModelList"]


@dataclass(frozen=True)
class _Listing:
    """Models and default model at a moment, or the error that was raised instead."""

    at: float
    models: list[ModelInfo]
    default: str
    error: PredictorError | None = None


class ModelList:
    """The models of a predictor, requested again when they are older than half a second.

    Every answer names a model, and the predictor may be a remote service. All callers that wait
    share one request, which takes seconds if the service is unavailable.

    Args:
        predictor: Predictor that has the models.
        valid_s: Seconds for which they are not requested again.
    """

    def __init__(self, predictor: Predictor, *, valid_s: float = 0.5) -> None:
        self._predictor = predictor
        self._valid_s = valid_s
        self._lock = asyncio.Lock()
        self._listing = _Listing(-math.inf, [], "")

    async def all(self) -> list[ModelInfo]:
        """Return all available models.

        Raises:
            ModelNotFoundError: There is no model.
            UnavailableError: The models cannot be listed now.
        """
        return (await self._current()).models

    async def get(self, name: str) -> ModelInfo:
        """Return a model by name, or a private one by its id.

        Raises:
            ModelNotFoundError: There is no model of that name.
            UnavailableError: The models cannot be listed now.
        """
        if is_private(name):
            return await asyncio.to_thread(self._predictor.model, name)
        return find_model(await self.all(), name)

    async def name_or_default(self, name: str | None) -> str:
        """Return the name of a model if it is available, otherwise of the default model.

        Raises:
            ModelNotFoundError, UnavailableError: As in `all`.
        """
        listing = await self._current()
        available = {model.config.name for model in listing.models}
        return name if name in available else listing.default

    async def selectable(self, chosen: str) -> list[ModelInfo]:
        """Return the models that users may select, including the one that they selected.

        Raises:
            ModelNotFoundError, UnavailableError: As in `all`.
        """
        listing = await self._current()
        return selectable(listing.models, listing.default, chosen)

    async def _current(self) -> _Listing:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if clock() > self._listing.at + self._valid_s:
                try:
                    models, default = await asyncio.to_thread(
                        lambda: (self._predictor.models(), self._predictor.default_model())
                    )
                    self._listing = _Listing(clock(), models, default)
                except PredictorError as error:
                    self._listing = _Listing(clock(), [], "", error)
            listing = self._listing
        if listing.error is not None:
            raise UnavailableError(str(listing.error)) from listing.error
        return listing
