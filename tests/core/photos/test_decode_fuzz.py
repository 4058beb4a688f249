"""Fuzzing: any bytes decode to an image or raise an ImageError."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from core.errors import ImageError
from core.photos.decode import decode
from tests.support import drawings

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
EXAMPLES = 500


def photos() -> list[bytes]:
    files = []
    for kind in KINDS:
        buffer = BytesIO()
        image = drawings.gradient(48, 32)
        exif = image.getexif()
        exif[274] = 6
        image.save(buffer, kind, **({"exif": exif} if kind not in ("GIF", "BMP") else {}))
        files.append(buffer.getvalue())
    buffer = BytesIO()
    drawings.gradient(48, 32).save(buffer, "JPEG", progressive=True)
    files.append(buffer.getvalue())
    buffer = BytesIO()
    pillow_heif.from_pillow(drawings.gradient(48, 32)).save(buffer, quality=80)
    files.append(buffer.getvalue())
    for mode in ("P", "LA", "RGBA", "1", "I;16"):
        buffer = BytesIO()
        drawings.gradient(48, 32).convert("L").convert(mode).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


VALID = photos()


def answers(data: bytes) -> None:
    try:
        pixels = decode(data, min_side=64)
    except ImageError as error:
        assert str(error)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(("set", "delete", "insert", "cut")))
        if change == "set":
            data[place] = draw(st.integers(0, 255))
        elif change == "delete" and len(data) > 64:
            del data[place : place + draw(st.integers(1, 16))]
        elif change == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif change == "cut" and len(data) > 64:
            del data[max(place, 64) :]
    return bytes(data)


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it mends; the answer is what counts
@settings(FUZZ, derandomize=True)
@given(st.one_of(mutated(), mutated(), mutated(), st.binary(max_size=512)))
@example(b"")
def test_any_bytes_decode_or_raise_an_image_error(data: bytes) -> None:
    answers(data)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@seed(20_261_123)
@settings(FUZZ, max_examples=80 * EXAMPLES)
@given(mutated())
def test_many_more_bytes_decode_or_raise_an_image_error(data: bytes) -> None:
    answers(data)
