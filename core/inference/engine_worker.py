"""Run a model for another process: `python -m core.inference.engine_worker FOLDER THREADS`.

A model that is not trusted yet may hang or crash, so it runs in a process of its own, with a limit
on memory. Requests are read from standard input and answers written to standard output, see
`core.messages`: a request names a method of `Engine` and the shape of the images, whose float32
pixels are the bytes. The first message says that the model is loaded, or why it cannot be loaded.
The process ends when its standard input is closed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.backbone import load_engine
from core.inference.engine import Engine
from core.messages import read_message, write_message
from core.system import become_worker

__all__ = ["main"]

_MEMORY_BYTES = 4 * 2**30
_MAX_REQUEST_BYTES = 2**30


def main() -> None:
    """Answer requests until standard input is closed."""
    become_worker(_MEMORY_BYTES)
    folder, threads = sys.argv[1:]
    try:
        engine = load_engine(Bundle.open(Path(folder)), threads=int(threads))
    except BundleError as error:
        write_message(sys.stdout.buffer, {"error": str(error)})
        return
    ready = {"features": engine.features, "has_features": engine.has_features}
    write_message(sys.stdout.buffer, ready)
    while True:
        try:
            request, pixels = read_message(sys.stdin.buffer, max_bytes=_MAX_REQUEST_BYTES)
        except EOFError:
            return
        images = np.frombuffer(pixels, np.float32).reshape(request["shape"])
        started = time.perf_counter()
        try:
            arrays = _run(engine, request["method"], images)
        except BundleError as error:
            write_message(sys.stdout.buffer, {"error": str(error)})
            continue
        seconds = time.perf_counter() - started
        answer = {"shapes": [each.shape for each in arrays], "seconds": seconds}
        write_message(sys.stdout.buffer, answer, *(each.tobytes() for each in arrays))


def _run(engine: Engine, method: str, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    if method == "run":
        outputs = engine.run(images)
        return [outputs.logits, outputs.embedding]
    return [engine.explain(images) if method == "explain" else engine.features_of(images)]


if __name__ == "__main__":
    main()
