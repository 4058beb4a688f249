"""Decode photos for another process: python -m core.photos.worker MEMORY_MB PROCESSOR_S.

Messages come by standard input and go by standard output, see `core.photos.messages`. The process
ends once nobody writes to it any more, so it does not outlive the one that started it.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from typing import Any, BinaryIO

from core.errors import ImageError, PhotoReadError
from core.photos.decode import MAX_BYTES, configure_pillow_limits
from core.photos.limits import bound_memory, processor_time
from core.photos.messages import read_message, write_message
from core.photos.prepare import Preparation, PreparedPhoto, prepare
from core.photos.preprocess import InputSpec
from core.system import ignore_stop_signals

__all__ = ["as_header", "main", "preparation_of", "serve"]

# A decoder with a thread for each of 64 processors would need gigabytes of address space for them.
_THREADS = 2


def main() -> None:
    """Run as a program."""
    memory_mb, processor_s = int(sys.argv[1]), float(sys.argv[2])
    # Whoever started this process ends it; a signal to its group must not end what it still needs.
    ignore_stop_signals()
    # What a decoder prints must not come between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _load_decoders()
    bound_memory(memory_mb)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, answers, processor_s=processor_s)
    # Without what Python does at its end: nothing here needs to be put away.
    os._exit(0)


def serve(questions: BinaryIO, answers: BinaryIO, *, processor_s: float) -> None:
    """Answer until nobody asks.

    Raises:
        EOFError: Nobody asks any more.
        OSError: Nobody reads the answers.
    """
    write_message(answers, {"ready": True})
    while True:
        header, photo = read_message(questions, max_bytes=MAX_BYTES + 1)
        processor_time(processor_s)
        answer, body = _answer(header, photo)
        processor_time(0)
        write_message(answers, answer, *body)


def preparation_of(header: dict[str, Any]) -> Preparation:
    """What is wanted of a photo, as `as_header` wrote it."""
    spec = header["spec"]
    return Preparation(**header | {"spec": spec and InputSpec.model_validate(spec)})


def as_header(wanted: Preparation) -> dict[str, Any]:
    """What is wanted of a photo, for a message."""
    spec = wanted.spec and wanted.spec.model_dump(mode="json")
    return asdict(wanted) | {"spec": spec}


def _answer(header: dict[str, Any], photo: bytes) -> tuple[dict[str, Any], list[bytes]]:
    try:
        prepared = prepare(photo, preparation_of(header))
    except (ImageError, PhotoReadError) as error:
        return {"code": error.code, "message": str(error)}, []
    except MemoryError:
        # In scaling, say: what has decoded took nearly all.
        message = "The photo needs more memory than there is. Send a smaller one."
        return {"code": "too_many_pixels", "message": message}, []
    return _described(prepared)


def _described(prepared: PreparedPhoto) -> tuple[dict[str, Any], list[bytes]]:
    header: dict[str, Any] = {}
    body = []
    for name, pixels in (("crops", prepared.crops), ("preview", prepared.preview)):
        if pixels is not None:
            header[name] = pixels.shape
            body.append(pixels.tobytes())
    if prepared.archival is not None:
        header["archival"] = len(prepared.archival)
        body.append(prepared.archival)
    return header, body


def _load_decoders() -> None:
    """Import what a first photo would wait for, and bound the threads of decoders."""
    configure_pillow_limits()
    avif: Any = importlib.import_module("PIL.AvifImagePlugin")
    avif.DEFAULT_MAX_THREADS = _THREADS
    for name in ("Bmp", "Gif", "Jpeg", "Png", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    with suppress(ImportError):
        heif: Any = importlib.import_module("pillow_heif")
        heif.options.DECODE_THREADS = _THREADS
    # Pillow and NumPy load some of their parts with the first image.
    with suppress(ImageError):
        prepare(_first_photo(), Preparation(preview=8, archival=True))


def _first_photo() -> bytes:
    from PIL import Image  # noqa: PLC0415  # loaded by now

    buffer = BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
