"""Inspection of GIF files, including hostile ones."""

from __future__ import annotations

import numpy as np
import pytest

from core.photos.decode import decode
from core.photos.formats.inspected import MAX_PARTS
from tests.support.hostile_photos import gif, refusal


@pytest.mark.parametrize("before", [b"!\xfe\x01a\0", b"!\xff\x01a\0", b"\0"])
def test_gif_with_too_many_blocks_is_rejected(before: bytes) -> None:
    assert refusal(gif(before=before * (MAX_PARTS + 1)))[0] == "unsupported"
    assert np.array_equal(decode(gif(before=before * 1_000)), decode(gif(before=b"")))


def test_gif_with_an_endless_comment_is_rejected() -> None:
    endless = b"!\xf0" + b"\x01a" * (MAX_PARTS + 1) + b"\0"
    assert refusal(gif(before=endless))[0] == "unsupported"


def test_gif_keeps_its_transparency_after_comments() -> None:
    data = gif(before=b"!\xfe\x01a\0" + b"!\xf9\x04\x01\0\0\0\0" + b"!\xfe\x01a\0")
    assert (decode(data) == 255).all()
