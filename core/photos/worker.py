"""Decode photos for another process: `python -m core.photos.worker MEMORY_MB PROCESSOR_S`.

Requests are read from standard input and results written to standard output, see
`core.messages`. The process exits when its standard input is closed, so it does not outlive
its parent.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image

from core.errors import ImageError, PhotoReadError
from core.messages import read_message, write_message
from core.photos.decode import MAX_BYTES, configure_pillow_limits
from core.photos.limits import limit_memory, limit_processor_time
from core.photos.prepare import Preparation, PreparedPhoto, prepare
from core.photos.preprocess import InputSpec
from core.system import ignore_stop_signals

__all__ = ["main", "request_from_header", "request_to_header", "serve"]

# Number of decoder threads; one for each of 64 processors would need gigabytes of address space.
_THREADS = 2


def main() -> None:
    """Run the worker with the limits given on the command line."""
    memory_mb, processor_s = int(sys.argv[1]), float(sys.argv[2])
    # The parent ends this process. A signal to the process group must not, as the parent may still
    # need it.
    ignore_stop_signals()
    # Output of a decoder must not mix with the messages.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _load_decoders()
    limit_memory(memory_mb)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, results, processor_s=processor_s)
    # Skip Python's clean-up, as there is nothing to clean up.
    os._exit(0)


def serve(requests: BinaryIO, results: BinaryIO, *, processor_s: float) -> None:
    """Handle requests until the stream is closed.

    Args:
        requests: Stream of requests.
        results: Stream of results.
        processor_s: Limit on the processor time of a photo, in seconds.

    Raises:
        EOFError: The stream of requests was closed.
        OSError: The stream of results was closed.
    """
    write_message(results, {"ready": True})
    while True:
        header, photo = read_message(requests, max_bytes=MAX_BYTES + 1)
        limit_processor_time(processor_s)
        result, body = _handle(header, photo)
        limit_processor_time(0)
        write_message(results, result, *body)


def request_from_header(header: dict[str, Any]) -> Preparation:
    """Deserialize a request, the result of `request_to_header`."""
    spec = header["spec"]
    return Preparation(**header | {"spec": spec and InputSpec.model_validate(spec)})


def request_to_header(request: Preparation) -> dict[str, Any]:
    """Serialize a request as the JSON object of a message."""
    spec = request.spec and request.spec.model_dump(mode="json")
    return asdict(request) | {"spec": spec}


def _handle(header: dict[str, Any], photo: bytes) -> tuple[dict[str, Any], list[bytes]]:
    try:
        prepared = prepare(photo, request_from_header(header))
    except (ImageError, PhotoReadError) as error:
        return {"code": error.code, "message": str(error)}, []
    except MemoryError:
        # For example in resizing, after decoding has used almost all memory.
        message = "The photo needs more memory than is available. Send a smaller one."
        return {"code": "too_many_pixels", "message": message}, []
    return _to_message(prepared)


def _to_message(prepared: PreparedPhoto) -> tuple[dict[str, Any], list[bytes]]:
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
    """Import everything that the first photo would wait for, and limit decoder threads."""
    configure_pillow_limits()
    avif: Any = importlib.import_module("PIL.AvifImagePlugin")
    avif.DEFAULT_MAX_THREADS = _THREADS
    for name in ("Bmp", "Gif", "Jpeg", "Png", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    with suppress(ImportError):
        heif: Any = importlib.import_module("pillow_heif")
        heif.options.DECODE_THREADS = _THREADS
    # Pillow and NumPy import some modules when they process their first image.
    with suppress(ImageError):
        prepare(_warm_up_photo(), Preparation(preview=8, archival=True))


def _warm_up_photo() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
