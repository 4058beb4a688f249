"""Create the predictor that the settings call for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import StoreError
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.heads import LocalHeads
from core.serving.local import LocalPredictor
from core.serving.predictor import Observer
from core.settings import Settings, processors
from core.store.hash_key import load_hash_key

if TYPE_CHECKING:
    from core.rollout.traffic import Rollouts
    from core.serving.remote import RemotePredictor
    from core.store.store import Store

__all__ = [
    "command_pool",
    "connect",
    "connect_command",
    "find_store",
    "local_predictor",
    "photo_pool",
]

logger = logging.getLogger(__name__)

# Commands decode photos up to this size in their own process: a worker takes 0.5 s to start.
_INLINE_PIXELS = 16_000_000


def connect(settings: Settings) -> LocalPredictor | RemotePredictor:
    """Create the predictor of a front: remote if TENSIGHT_PREDICTOR_URL is set, otherwise local."""
    if settings.predictor_url is None:
        return local_predictor(settings)
    photos = photo_pool(settings, workers=processors())
    return _remote(settings, photos, _client_hash_key(settings))


def connect_command(settings: Settings) -> LocalPredictor | RemotePredictor:
    """Create the predictor of a command; it starts a worker process only for a large photo."""
    photos = command_pool(settings, workers=1)
    if settings.predictor_url is not None:
        # It asks for no client, so it needs no key.
        return _remote(settings, photos, None)
    return _local(settings, photos, None)


def local_predictor(
    settings: Settings, observer: Observer | None = None, *, decoders: int | None = None
) -> LocalPredictor:
    """Create a predictor with the models in this process and worker processes that decode.

    Args:
        settings: The settings of models, queue and photo limits are used.
        observer: Receives the outcome of each photo; None for no observer.
        decoders: As for `LocalPredictor`.
    """
    # One client may occupy as many workers as there are processors, so others have as many.
    photos = photo_pool(settings, workers=2 * (decoders or processors()))
    return _local(settings, photos, observer, decoders, with_rollouts=True)


def _local(
    settings: Settings,
    photos: PhotoPool,
    observer: Observer | None,
    decoders: int | None = None,
    *,
    with_rollouts: bool = False,
) -> LocalPredictor:
    catalog = Catalog(settings)

    def rollouts(is_idle: Callable[[], bool]) -> Rollouts:
        from core.rollout.traffic import Rollouts  # noqa: PLC0415  # imports the database

        return Rollouts(catalog, lambda: find_store(settings), is_idle=is_idle)

    return LocalPredictor(
        catalog,
        queue_size=settings.queue_size,
        deadline_s=settings.deadline_s,
        observer=observer,
        photos=photos,
        client_share=settings.client_share,
        pixels_at_once=settings.megapixels_at_once * 1_000_000,
        decoders=decoders,
        rollouts=rollouts if with_rollouts else None,
    )


def find_store(settings: Settings) -> Store | None:
    """Open the database of the settings; None where there is none yet."""
    if not settings.has_database():
        return None
    from core.store.store import Store  # noqa: PLC0415  # a slow import that few callers need

    return Store.find(settings)


def _client_hash_key(settings: Settings) -> bytes | None:
    """Return the key of the hashes that stand for clients; None where none can be kept."""
    reason = "the disk of a Space is not persistent"
    # A key on a disk that is lost with the process would be a new one after each start.
    if settings.secret is not None or "SPACE_ID" not in os.environ:
        try:
            return load_hash_key(settings)
        except StoreError as error:
            reason = str(error)
    logger.warning(
        "The same visitors and chats may be answered by another revision after a restart while a "
        "canary runs: TENSIGHT_SECRET is not set, and no key can be stored (%s). Set "
        "TENSIGHT_SECRET.",
        reason,
    )
    return None


def _remote(settings: Settings, photos: PhotoPool, secret: bytes | None) -> RemotePredictor:
    # Its HTTP client takes a twentieth of the time of `tensight predict`, which rarely needs it.
    from core.serving.remote import RemotePredictor  # noqa: PLC0415

    key = settings.predictor_key
    return RemotePredictor(
        settings.predictor_url or "",
        key=key.get_secret_value() if key else None,
        secret=secret,
        photos=photos,
        heads=LocalHeads(Catalog(settings)),
    )


def command_pool(settings: Settings, *, workers: int) -> PhotoPool:
    """Create worker processes for a command, which are started for large photos only.

    Args:
        settings: As for `photo_pool`.
        workers: As for `PhotoPool`.
    """
    return photo_pool(settings, workers=workers, inline_pixels=_INLINE_PIXELS)


def photo_pool(settings: Settings, *, workers: int, inline_pixels: int = 0) -> PhotoPool:
    """Create worker processes that decode photos within the limits of the settings.

    Args:
        settings: The settings of photo limits are used.
        workers: As for `PhotoPool`.
        inline_pixels: As for `PhotoPool`.
    """
    limits = PhotoLimits(
        settings.photo_memory_mb, settings.photo_processor_s, settings.photo_seconds
    )
    return PhotoPool(limits, workers=workers, inline_pixels=inline_pixels)
