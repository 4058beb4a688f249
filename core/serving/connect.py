"""Choose the predictor that the settings ask for."""

from __future__ import annotations

from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.predictor import Observer
from core.serving.remote import RemotePredictor
from core.settings import Settings, processors

__all__ = ["connect", "connect_command", "local_predictor"]

# A command decodes such photos in its own process, since a worker takes half a second to start.
_INLINE_PIXELS = 16_000_000


def connect(settings: Settings) -> LocalPredictor | RemotePredictor:
    """Make the predictor of a front: at TENSIGHT_PREDICTOR_URL, else in this process."""
    if settings.predictor_url is not None:
        return _remote(settings, _pool(settings, workers=processors()))
    return local_predictor(settings)


def connect_command(settings: Settings) -> LocalPredictor | RemotePredictor:
    """Make the predictor of a command, which starts a process only for a photo that needs one."""
    photos = _pool(settings, workers=1, inline_pixels=_INLINE_PIXELS)
    if settings.predictor_url is not None:
        return _remote(settings, photos)
    return _local(settings, photos, None)


def local_predictor(settings: Settings, observer: Observer | None = None) -> LocalPredictor:
    """Make a predictor with the models in this process, and photos decoded by others.

    Args:
        settings: Where the models are, and what photos and clients may take.
        observer: Hears how photos fare.
    """
    # One client's photos keep as many as there are processors; as many again are for others.
    return _local(settings, _pool(settings, workers=2 * processors()), observer)


def _local(settings: Settings, photos: PhotoPool, observer: Observer | None) -> LocalPredictor:
    return LocalPredictor(
        Catalog(settings),
        queue_size=settings.queue_size,
        deadline_s=settings.deadline_s,
        observer=observer,
        photos=photos,
        client_share=settings.client_share,
        pixels_at_once=settings.megapixels_at_once * 1_000_000,
    )


def _remote(settings: Settings, photos: PhotoPool) -> RemotePredictor:
    key, secret = settings.predictor_key, settings.secret
    return RemotePredictor(
        settings.predictor_url or "",
        key=key.get_secret_value() if key else None,
        secret=secret.get_secret_value().encode() if secret else None,
        photos=photos,
    )


def _pool(settings: Settings, *, workers: int, inline_pixels: int = 0) -> PhotoPool:
    limits = PhotoLimits(
        settings.photo_memory_mb, settings.photo_processor_s, settings.photo_seconds
    )
    return PhotoPool(limits, workers=workers, inline_pixels=inline_pixels)
