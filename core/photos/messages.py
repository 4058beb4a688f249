"""Messages between a process and the workers that decode for it.

A message is a JSON object and bytes. Nothing is unpickled: a decoder that a photo took over can
answer whatever it likes, and must not run code in the process that it answers to.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

__all__ = ["MessageError", "read_message", "write_message"]

_LENGTHS = struct.Struct(">II")
_MAX_HEADER_BYTES = 64 * 1024


class MessageError(ValueError):
    """What came is no message, or larger than may come."""


def write_message(stream: BinaryIO, header: dict[str, Any], *body: bytes | memoryview) -> None:
    """Write one message.

    Raises:
        OSError: Nobody reads it.
    """
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), sum(map(len, body))))
    stream.write(text)
    for part in body:
        stream.write(part)
    stream.flush()


def read_message(stream: BinaryIO, *, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Args:
        stream: A blocking stream.
        max_bytes: Of its body.

    Raises:
        EOFError: Nobody writes any more.
        MessageError: It is none, or larger.
    """
    header_length, length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if header_length > _MAX_HEADER_BYTES or length > max_bytes:
        raise MessageError(f"a message of {header_length} and {length} bytes")
    try:
        header = json.loads(_exactly(stream, header_length))
    except ValueError as error:
        raise MessageError("a message without a header") from error
    if not isinstance(header, dict):
        raise MessageError("a message without a header")
    return header, _exactly(stream, length)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
