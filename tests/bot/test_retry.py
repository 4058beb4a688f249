"""Errors after which an update is handled again."""

from __future__ import annotations

import pytest
from telegram.error import BadRequest, NetworkError, TimedOut

from bot.retry import RetryLater, Service, unavailable_service
from core.errors import BusyError, StoreError, UnavailableError


@pytest.mark.parametrize(
    ("error", "service"),
    [
        (StoreError("locked"), Service.DATABASE),
        (UnavailableError("unreachable"), Service.PREDICTOR),
        (NetworkError("reset"), Service.TELEGRAM),
        (TimedOut(), Service.TELEGRAM),
        (BadRequest("chat not found"), None),
        (BusyError(1), None),
        (ValueError("a bug"), None),
    ],
)
def test_error_names_the_unavailable_service(error: Exception, service: Service | None) -> None:
    assert unavailable_service(error) is service


def test_retry_says_which_service_is_unavailable() -> None:
    error = RetryLater(Service.DATABASE, StoreError("locked"))
    assert str(error) == "The database is unavailable: locked"
