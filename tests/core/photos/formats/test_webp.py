"""Inspection of WebP files."""

from __future__ import annotations

from PIL import Image

from core.photos.decode import inspect
from tests.support import drawings
from tests.support.hostile_photos import encoded

GRADIENT = drawings.gradient(60, 40)


def test_size_of_each_webp_variant_is_read() -> None:
    clear = Image.new("RGBA", (60, 40), (9, 9, 9, 9))
    for data in (
        encoded(GRADIENT, "WEBP", lossless=True),
        encoded(clear, "WEBP"),
        encoded(GRADIENT, "WEBP", exif=b"Exif\0\0II"),
    ):
        assert inspect(data, "WEBP").pixels == 2400
