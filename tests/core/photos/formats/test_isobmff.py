"""Inspection of HEIF files, including hostile ones."""

from __future__ import annotations

import pytest
from PIL import Image

from core.photos.decode import decode, inspect
from core.photos.formats.kind import kind_of
from tests.support.hostile_photos import heif_of_parts, refusal


@pytest.mark.parametrize(
    ("kind", "count", "references"), [(b"grid", 8, 1), (b"iovl", 60, 1), (b"grid", 3, 2)]
)
def test_heif_with_too_many_pixels_in_parts_is_rejected(
    kind: bytes, count: int, references: int
) -> None:
    tile = Image.new("RGB", (1536, 1536))
    data = heif_of_parts(kind, count, side=1536, coded=tile, references=references)
    code, message = refusal(data)
    assert code == "too_many_pixels"
    assert "120 million pixels together" in message


def test_heif_with_recursive_parts_is_rejected() -> None:
    data = heif_of_parts(b"grid", 2, side=64, coded=Image.new("RGB", (64, 64)), references=1)
    itself = data.replace(b"\0\2\0\4" + b"\0\1" * 4, b"\0\2\0\4" + b"\0\2" * 4)
    assert itself != data
    assert refusal(itself)[0] == "too_many_pixels"


def test_heif_of_tiles_is_decoded() -> None:
    tile = Image.new("RGB", (64, 64), (200, 40, 40))
    for kind in (b"grid", b"iovl"):
        data = heif_of_parts(kind, 2, side=128, coded=tile)
        found = inspect(data, kind_of(data))
        assert (found.width, found.height) == (128, 128)
        assert found.pixels == {b"grid": 4 * 64 * 64, b"iovl": 128 * 128}[kind]
        assert decode(data).shape == (128, 128, 3)
