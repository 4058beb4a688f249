"""Inspection of JPEG files, including hostile ones."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ImageError
from core.photos.decode import decode
from core.photos.formats import jpeg
from core.photos.formats.inspected import MAX_PARTS
from tests.support import drawings
from tests.support.hostile_photos import encoded, jpeg_of_many_scans, refusal

GRADIENT = drawings.gradient(60, 40)


def test_jpeg_of_too_many_segments_is_rejected() -> None:
    data = encoded(GRADIENT, "JPEG")
    comments = b"\xff\xfe\x00\x02" * (MAX_PARTS + 1)
    assert refusal(data[:2] + comments + data[2:])[0] == "unsupported"
    assert decode(data[:2] + comments[:4_000] + data[2:]).shape == (40, 60, 3)


def test_jpeg_of_too_many_scans_is_rejected() -> None:
    code, message = refusal(jpeg_of_many_scans(64, jpeg.MAX_SCANS))
    assert code == "unsupported"
    assert "more than 100 scans" in message
    assert decode(jpeg_of_many_scans(64, jpeg.MAX_SCANS - 1)).shape == (64, 64, 3)
    # A comment that looks like the end of the picture hides no scans.
    data = jpeg_of_many_scans(64, 2 * jpeg.MAX_SCANS)
    at = data.rindex(b"\xff\xda")
    hidden = data[:at] + b"\xff\xfe\x00\x04\xff\xd9" + data[at:]
    assert refusal(hidden)[0] == "unsupported"


def test_data_after_a_jpeg_is_not_counted_as_scans() -> None:
    data = encoded(drawings.gradient(64, 64), "JPEG", progressive=True)
    assert np.array_equal(decode(data + b"\xff\xda\x00\x04ab" * 1_000), decode(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("min_side", [None, 64])
def test_jpeg_without_its_end_marker_is_decoded(
    options: dict[str, bool], min_side: int | None
) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90, **options)
    whole = decode(data, min_side=min_side)
    for missing in (1, 2):
        assert np.array_equal(decode(data[:-missing], min_side=min_side), whole)
    restart = data.rfind(b"\xff\xd5")
    cuts = [20, 200, len(data) // 2] + ([len(data) - restart] if restart > 0 else [])
    for missing in cuts:
        with pytest.raises(ImageError) as caught:
            decode(data[:-missing], min_side=min_side)
        assert caught.value.code == "truncated", missing


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


THUMBNAIL = encoded(drawings.ship(64, 48), "JPEG")
THUMBNAILS = {
    "EXIF": jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + bytes(6) + THUMBNAIL),
    "JFXX": jpeg_segment(0xE0, b"JFXX\0\x10" + THUMBNAIL),
    "Photoshop": jpeg_segment(0xED, b"Photoshop 3.0\0" + THUMBNAIL),
    "comment": jpeg_segment(0xFE, THUMBNAIL),
    "MPF": jpeg_segment(0xE2, b"MPF\0" + THUMBNAIL),
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("place", [*THUMBNAILS, "between scans"])
def test_end_marker_of_a_thumbnail_is_not_that_of_the_photo(place: str, progressive: bool) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90, progressive=progressive)
    whole = decode(data)
    start = data.rfind(b"\xff\xda") if place == "between scans" else 2
    segment = THUMBNAILS["comment" if place == "between scans" else place]
    data = data[:start] + segment + data[start:]
    assert jpeg.has_end(data)
    for missing in (1, 2):
        assert not jpeg.has_end(data[:-missing])
        assert np.array_equal(decode(data[:-missing]), whole)
    for missing in (20, 200, len(data) // 3):
        with pytest.raises(ImageError) as caught:
            decode(data[:-missing])
        assert caught.value.code == "truncated", missing


@pytest.mark.parametrize(
    "trailer",
    [
        b"\0\0\1\x0a\x0e\0\0\0Image_UTC_Data1700000000000SEFHj\0\0\0SEFT",
        b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40,
        THUMBNAIL[:-2],
        b"\xff",
    ],
    ids=["Samsung", "motion photo", "second image", "byte"],
)
def test_jpeg_with_data_after_its_end_is_decoded(trailer: bytes) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90)
    whole = decode(data)
    data = data[:2] + THUMBNAILS["EXIF"] + data[2:] + trailer
    assert jpeg.has_end(data)
    assert np.array_equal(decode(data), whole)
    assert np.array_equal(decode(data[:-1]), whole)


def test_mpo_without_its_last_bytes_is_decoded() -> None:
    ship = drawings.ship(640, 480)
    data = encoded(ship, "MPO", save_all=True, append_images=[drawings.ship(64, 48)])
    whole = decode(data)
    for missing in (1, 2, 300):
        assert np.array_equal(decode(data[:-missing]), whole)
