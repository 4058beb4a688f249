"""Inspection of BMP files, including hostile ones."""

from __future__ import annotations

import numpy as np

from core.photos.decode import decode
from core.photos.formats import bmp
from tests.support.hostile_photos import bmp_of_32_bits, refusal, run_length_bmp


def test_large_run_length_encoded_bmp_is_rejected() -> None:
    side = 1 + int(bmp.MAX_RLE_PIXELS**0.5)
    code, message = refusal(run_length_bmp(side, b"\x01\x05\x00\x00" * side + b"\x00\x01"))
    assert code == "too_many_pixels"
    assert "run-length" in message
    assert refusal(run_length_bmp(16, b"\xff\x01" * 2_000))[0] == "too_many_pixels"
    assert (decode(run_length_bmp(16, b"\x10\x05\x00\x00" * 16 + b"\x00\x01")) == 5).all()


def test_bmp_alpha_of_zero_everywhere_is_ignored() -> None:
    pixels = np.full((8, 8, 4), (200, 30, 40, 0), np.uint8)
    assert (decode(bmp_of_32_bits(pixels))[0, 0] == (200, 30, 40)).all()
    pixels[0, 0, 3] = 255
    decoded = decode(bmp_of_32_bits(pixels))
    assert (decoded[0, 0] == (200, 30, 40)).all()
    assert (decoded[1, 1] == 255).all(), "alpha above zero somewhere is transparency"
