"""Choose the predictor that the settings ask for."""

from __future__ import annotations

from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings

__all__ = ["connect"]


def connect(settings: Settings) -> LocalPredictor | RemotePredictor:
    """The predictor of the settings: at TENSIGHT_PREDICTOR_URL, else in this process."""
    if settings.predictor_url is not None:
        key = settings.predictor_key
        return RemotePredictor(settings.predictor_url, key=key.get_secret_value() if key else None)
    return LocalPredictor(
        Catalog(settings), queue_size=settings.queue_size, deadline_s=settings.deadline_s
    )
