"""Number of pixels that a file claims, and the function that reads it for each format."""

from __future__ import annotations

import pytest

from core.photos.decode import inspect
from core.photos.formats.claimed import PREFIX_BYTES, claimed_pixels, is_plain
from core.photos.formats.inspected import MAX_PIXELS
from core.photos.formats.kind import kind_of
from tests.support import drawings
from tests.support.hostile_photos import encoded

GRADIENT = drawings.gradient(60, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_size_is_read_without_decoding(kind: str) -> None:
    data = encoded(GRADIENT, kind)
    found = inspect(data, kind_of(data))
    assert (found.width, found.height, found.pixels) == (60, 40, 2400)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_claimed_pixels_are_read_from_the_beginning(kind: str) -> None:
    data = encoded(GRADIENT, kind)
    assert claimed_pixels(data + bytes(2 * PREFIX_BYTES)) == 2400


def test_file_whose_size_cannot_be_read_counts_as_the_largest() -> None:
    assert claimed_pixels(b"\x89PNG\r\n\x1a\n" + bytes(100)) == MAX_PIXELS
    assert claimed_pixels(encoded(GRADIENT, "JPEG")[:30]) == MAX_PIXELS


def test_unsupported_file_claims_no_pixels() -> None:
    assert claimed_pixels(b"not a photo") == 0


def test_heif_and_avif_need_a_video_codec() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        assert is_plain(encoded(GRADIENT, kind)), kind
    assert not is_plain(encoded(GRADIENT, "AVIF"))
    assert is_plain(b"not a photo")
