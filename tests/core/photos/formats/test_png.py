"""Inspection of PNG files, including hostile ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from core.photos.decode import decode
from core.photos.formats.inspected import MAX_PARTS
from tests.support.hostile_photos import encoded, png, png_chunk, refusal


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
def test_png_with_megabytes_of_metadata_is_decoded(kind: bytes) -> None:
    body = {
        b"zTXt": b"Comment\0\0" + zlib.compress(bytes(2_000_000)),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000)),
        b"iCCP": b"profile\0\0" + zlib.compress(bytes(2_000_000)),
        b"tEXt": b"Comment\0" + b"a" * 2_000_000,
    }[kind]
    assert decode(png(*[png_chunk(kind, body)] * 3)).shape == (16, 16, 3)


def test_png_with_a_spoiled_comment_is_decoded() -> None:
    chunk = bytearray(png_chunk(b"tEXt", b"Comment\0some"))
    chunk[-1] ^= 1
    assert decode(png(bytes(chunk))).shape == (16, 16, 3)


def test_png_of_too_many_chunks_is_rejected() -> None:
    for kind in (b"prVt", b"IDAT"):
        code, message = refusal(png(png_chunk(kind) * (MAX_PARTS + 1)))
        assert code == "unsupported"
        assert "more than 50,000 parts" in message
    assert decode(png(png_chunk(b"IDAT") * 1_000)).shape == (16, 16, 3)


@pytest.mark.parametrize("behind", [b"IHDR", b"IDAT"])
def test_png_with_a_second_header_is_rejected(behind: bytes) -> None:
    """Pillow decodes as many pixels as the last header states."""
    data = png()
    second = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 7_000, 7_000, 8, 0, 0, 0, 0))
    at = data.index(behind) - 4
    at += 12 + int.from_bytes(data[at : at + 4], "big")
    assert refusal(data[:at] + second + data[at:])[0] == "truncated"


def test_png_animation_decodes_to_its_first_image() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(data), np.asarray(frames[0]))
    behind = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert np.array_equal(decode(behind), np.asarray(frames[0]))
