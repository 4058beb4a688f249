from __future__ import annotations

import json

import pytest

from core.errors import AccessError, BusyError, ImageError, StoreError, TenSightError
from core.serving.http.errors import error_response


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageError("too_large", "x"), 413),
        (ImageError("truncated", "x"), 400),
        (AccessError(), 401),
        (BusyError(7), 503),
        (StoreError("x"), 500),
    ],
)
def test_error_has_its_status_and_code(error: TenSightError, status: int) -> None:
    response = error_response(error)
    assert response.status_code == status
    body = json.loads(bytes(response.body))
    assert body == {"error": {"code": error.code, "message": str(error)}}


def test_busy_error_sets_retry_after() -> None:
    assert error_response(BusyError(7)).headers["Retry-After"] == "7"
