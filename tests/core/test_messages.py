"""Messages between a process and its workers."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest

from core.messages import MessageError, read_message, write_message


def test_message_survives_a_round_trip() -> None:
    stream = BytesIO()
    write_message(stream, {"shape": [2, 1]}, b"ab", memoryview(b"c"))
    write_message(stream, {})
    stream.seek(0)
    assert read_message(stream, max_bytes=3) == ({"shape": [2, 1]}, b"abc")
    assert read_message(stream, max_bytes=3) == ({}, b"")


def test_incomplete_message_means_that_the_stream_was_closed() -> None:
    stream = BytesIO()
    write_message(stream, {"a": 1}, b"body")
    for length in range(len(stream.getvalue())):
        with pytest.raises(EOFError):
            read_message(BytesIO(stream.getvalue()[:length]), max_bytes=4)


def test_message_over_its_limits_is_rejected_before_it_is_read() -> None:
    for lengths in ((2, 5), (2**31, 0)):
        with pytest.raises(MessageError, match="message too large"):
            read_message(BytesIO(struct.pack(">II", *lengths)), max_bytes=4)


@pytest.mark.parametrize(
    "header", [b"\xff", b"{", b"[1]", b"[" * 50_000], ids=["bytes", "open", "list", "nested"]
)
def test_header_that_is_no_json_object_is_rejected(header: bytes) -> None:
    with pytest.raises(MessageError, match="header is not"):
        read_message(BytesIO(struct.pack(">II", len(header), 0) + header), max_bytes=4)
