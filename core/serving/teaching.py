"""Connect teaching with the predictor that computes embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.serving.ask import retry_while_busy
from core.serving.connect import command_pool, connect_command, photo_pool
from core.serving.predictor import Predictor
from core.settings import Settings, processors
from core.store.hash_key import load_hash_key
from core.teaching.base import TeachingBase
from core.teaching.collect import Embed
from core.teaching.service import Teaching, find_teaching_base

__all__ = ["ConnectedTeaching", "connect_teaching", "embedding_by"]

_CLIENT = "teaching"


@dataclass(frozen=True)
class ConnectedTeaching:
    """Teaching with the worker processes that it needs; close it after use.

    Attributes:
        teaching: The interface for command line and fronts.
    """

    teaching: Teaching
    _close: tuple[Callable[[], None], ...]

    def close(self) -> None:
        """End the worker processes, and the predictor unless it was passed in."""
        for close in self._close:
            close()


def connect_teaching(
    settings: Settings,
    predictor: Predictor | None = None,
    *,
    command: str = "tensight",
    max_models: int = 10,
) -> ConnectedTeaching:
    """Prepare to teach with the models of this process or of TENSIGHT_PREDICTOR_URL.

    Args:
        settings: The settings.
        predictor: Computes the embeddings, and is not closed; None for one of the settings.
        command: Command that the models' cards name as their origin.
        max_models: Maximum number of private models of one owner.

    Raises:
        TeachingError: The model to teach on is not installed.
        BundleError: It is damaged.
        StoreError: The key of the hashes cannot be read or created.
    """
    base, key = find_teaching_base(settings), load_hash_key(settings)
    closing: list[Callable[[], None]] = []
    if predictor is None:
        own = predictor = connect_command(settings)
        closing.append(own.close)
        pool = command_pool(settings, workers=processors())
    else:
        pool = photo_pool(settings, workers=processors())
    teaching = Teaching(
        settings,
        base,
        embedding_by(predictor, base),
        pool,
        key,
        command=command,
        max_models=max_models,
    )
    return ConnectedTeaching(teaching, (pool.close, *closing))


def embedding_by(predictor: Predictor, base: TeachingBase) -> Embed:
    """Return a function that embeds images with a predictor, and retries while it is busy.

    It blocks, and must not be called from an event loop.

    Args:
        predictor: Computes the embeddings.
        base: The model to teach on.
    """
    reference = base.reference

    async def embed_all(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        # As one client, so that photos of others are answered meanwhile.
        asked = [
            retry_while_busy(
                partial(predictor.embed, Image.fromarray(image), reference, client=_CLIENT)
            )
            for image in images
        ]
        return [each.vector for each in await asyncio.gather(*asked)]

    def embed(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack(asyncio.run(embed_all(images)))

    return embed
