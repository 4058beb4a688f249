"""The errors of the package."""

from __future__ import annotations

import pickle

import pytest

from core.errors import (
    BusyError,
    ImageError,
    MissingExtraError,
    PhotoReadError,
    TeachingError,
    TenSightError,
)


@pytest.mark.parametrize(
    "error",
    [
        TenSightError("a"),
        PhotoReadError("a"),
        ImageError("too_large", "a"),
        BusyError(3),
        TeachingError("alike", "a", "cat", "dog"),
        MissingExtraError("charts", "Charts"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_survives_pickling(error: TenSightError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
