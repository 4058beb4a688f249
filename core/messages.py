"""Messages between a process and its workers.

A message is a JSON object and bytes. It is not pickled: a worker that a photo or a model has
compromised may send anything, and must not be able to run code in the receiving process.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

__all__ = ["MessageError", "read_message", "write_message"]

_LENGTHS_PREFIX = struct.Struct(">II")
_MAX_HEADER_BYTES = 64 * 1024


class MessageError(ValueError):
    """The received data is not a message, or exceeds the size limit."""


def write_message(stream: BinaryIO, header: dict[str, Any], *body: bytes | memoryview) -> None:
    """Write a message.

    Args:
        stream: A blocking stream.
        header: The JSON object.
        *body: Parts of the bytes.

    Raises:
        OSError: The other side has closed the stream.
    """
    text = json.dumps(header).encode()
    stream.write(_LENGTHS_PREFIX.pack(len(text), sum(map(len, body))))
    stream.write(text)
    for part in body:
        stream.write(part)
    stream.flush()


def read_message(stream: BinaryIO, *, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Args:
        stream: A blocking stream.
        max_bytes: Maximum size of the bytes.

    Returns:
        The JSON object and the bytes.

    Raises:
        EOFError: The other side has closed the stream.
        MessageError: The data is not a message, or exceeds the limit.
    """
    header_length, length = _LENGTHS_PREFIX.unpack(_read_exactly(stream, _LENGTHS_PREFIX.size))
    if header_length > _MAX_HEADER_BYTES or length > max_bytes:
        raise MessageError(f"message too large: header of {header_length} bytes, body of {length}")
    try:
        header = json.loads(_read_exactly(stream, header_length))
    except (ValueError, RecursionError) as error:
        raise MessageError("the header is not JSON, or nested too deeply") from error
    if not isinstance(header, dict):
        raise MessageError("the header is not a JSON object")
    return header, _read_exactly(stream, length)


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
