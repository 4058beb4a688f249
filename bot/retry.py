"""Errors after which an update is handled again."""

from __future__ import annotations

import enum

from telegram.error import BadRequest, NetworkError

from core.errors import StoreError, UnavailableError

__all__ = ["RetryLater", "Service", "unavailable_service"]


class Service(enum.Enum):
    """Service that the bot depends on."""

    PREDICTOR = "The predictor"
    DATABASE = "The database"
    TEACHING = "The model that others are taught on"
    TELEGRAM = "Telegram"


class RetryLater(Exception):  # noqa: N818  # a request to the inbox rather than an error
    """An update cannot be answered now; it stays in the inbox and is handled again.

    Attributes:
        service: Service that is unavailable.
        error: Error that it failed with.
    """

    def __init__(self, service: Service, error: Exception) -> None:
        super().__init__(f"{service.value} is unavailable: {error}")
        self.service = service
        self.error = error


def unavailable_service(error: Exception) -> Service | None:
    """Return the service that an error reports as unavailable; None for any other error."""
    if isinstance(error, StoreError):
        return Service.DATABASE
    if isinstance(error, UnavailableError):
        return Service.PREDICTOR
    # The library derives the refusal of a request from the failure of the network.
    if isinstance(error, NetworkError) and not isinstance(error, BadRequest):
        return Service.TELEGRAM
    return None
