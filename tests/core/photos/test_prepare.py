from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from core.photos.prepare import Preparation, prepare, to_archival_jpeg
from tests.support import drawings
from tests.support.hostile_photos import encoded


def test_preview_size_is_limited() -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        Preparation(preview=1025)
    tall = prepare(encoded(drawings.gradient(300, 3_000), "JPEG"), Preparation(preview=1024))
    assert tall.preview is not None
    assert tall.preview.shape == (1024, 102, 3)


def test_archival_jpeg_keeps_pixels_but_no_metadata(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x0112] = 6
    drawings.ship(640, 480).save(path, exif=exif)
    kept = to_archival_jpeg(path)
    assert b"Maker" not in kept
    with Image.open(path.with_suffix(".jpg")) as before:
        assert before.size == (640, 480)
    with Image.open(BytesIO(kept)) as after:
        assert after.size == (480, 640), "the orientation was not applied"
        assert not after.getexif()
