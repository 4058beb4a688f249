"""An engine in a worker process, for a model that may crash or hang."""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BundleError, EngineStartError, EngineStoppedError
from core.inference.engine import Outputs
from core.message_process import MessageProcess
from core.messages import MessageError

__all__ = ["ANSWER_TIMEOUT_S", "IsolatedEngine"]

ANSWER_TIMEOUT_S = 5.0
"""Timeout of a call in seconds, after which the worker is killed."""

_MAX_ANSWER_BYTES = 256 * 2**20


class IsolatedEngine:
    """A model.tflite in a worker process, with the methods of `Engine`.

    The worker is started once. If it crashes, or does not answer in time, it is killed, and every
    further call fails at once. It ends with this object. Methods are thread-safe.

    Attributes:
        features, has_features: As for `Engine`.
        transfer_s: Seconds that all calls so far have spent on anything but the model itself.

    Args:
        folder: The model folder.
        classes: Expected number of logits.
        threads: Number of threads for one call.
        command: Command line of the worker without the folder and the number of threads.
        start_timeout_s: Timeout of loading the model, in seconds.
        answer_timeout_s: Timeout of a call, in seconds.
        on_start: Called with the process before it starts, so that another thread can close it.

    Raises:
        BundleError: The model cannot be loaded.
        EngineStartError: The worker cannot be started, ends before it is ready, or is not ready in
            time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        classes: int,
        threads: int,
        command: tuple[str, ...] = (sys.executable, "-m", "core.inference.engine_worker"),
        start_timeout_s: float = 120.0,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        on_start: Callable[[MessageProcess], object] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._classes = classes
        self._answer_timeout_s = answer_timeout_s
        self._process = MessageProcess(
            [*command, str(folder), str(threads)],
            start_timeout_s=start_timeout_s,
            answer_timeout_s=answer_timeout_s,
            max_bytes=_MAX_ANSWER_BYTES,
        )
        self._lock = threading.Lock()
        self._problem: str | None = None
        self.transfer_s = 0.0
        weakref.finalize(self, self._process.end)
        on_start(self._process)
        try:
            ready = self._process.start()
            problem = ready.get("error")
            if problem is None:
                self.features = int(ready["features"])
                self.has_features = bool(ready["has_features"])
        except (OSError, EOFError, KeyError, TypeError, ValueError, OverflowError) as error:
            reason = self._process.end() or str(error) or "it was ended"
            raise EngineStartError(
                f"The process of {folder} was not ready within {start_timeout_s:g} s, or failed: "
                f"{reason}"
            ) from error
        if problem is not None:
            self._process.end()
            raise BundleError(f"{folder} cannot be loaded: {problem}")

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Compute logits and embeddings, as `Engine.run`.

        Raises:
            BundleError: The model does not accept this shape.
            EngineStoppedError: The worker has crashed or did not answer in time, now or before.
        """
        logits, embedding = self._call("run", images, arrays=2)
        expected = (len(images), self._classes), (len(images), self.features)
        if (logits.shape, embedding.shape) != expected:
            raise self._stop(f"it returned arrays of {logits.shape} and {embedding.shape}")
        return Outputs(logits, embedding)

    def explain(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute class evidence maps, as `Engine.explain`.

        Raises:
            BundleError, EngineStoppedError: As for `run`.
        """
        return self._maps("explain", images, channels=self._classes)

    def features_of(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute feature maps, as `Engine.features_of`.

        Raises:
            BundleError, EngineStoppedError: As for `run`.
        """
        return self._maps("features_of", images, channels=self.features)

    def _maps(
        self, method: str, images: NDArray[np.float32], *, channels: int
    ) -> NDArray[np.float32]:
        (maps,) = self._call(method, images, arrays=1)
        if maps.ndim != 4 or (len(maps), maps.shape[-1]) != (len(images), channels):
            raise self._stop(f"it returned maps of {maps.shape}")
        return maps

    def _call(
        self, method: str, images: NDArray[np.float32], *, arrays: int
    ) -> list[NDArray[np.float32]]:
        pixels = images.astype(np.float32, copy=False).tobytes()
        try:
            with self._lock:
                if self._problem is not None:
                    raise EngineStoppedError(self._problem)
                if not self._process.is_running:
                    raise EOFError
                started = time.perf_counter()
                answer, body = self._process.ask({"method": method, "shape": images.shape}, pixels)
                seconds = time.perf_counter() - started
            if "error" in answer:
                raise BundleError(str(answer["error"]))
            found, model_s = _parse_answer(answer, body)
            self.transfer_s += seconds - min(model_s, seconds)
            if len(found) != arrays:
                raise MessageError(f"it returned {len(found)} arrays")
        except (OSError, EOFError, MessageError) as error:
            raise self._stop(str(error)) from error
        return found

    def _stop(self, details: str) -> EngineStoppedError:
        """Stop the worker for good, and return the error that explains why."""
        said = self._process.end().splitlines()
        details = ": ".join(part for part in (details, *said[-1:]) if part)
        self._problem = (
            f"{self._folder.name} crashed, or did not answer in {self._answer_timeout_s:g} s"
            + (f" ({details})." if details else ".")
        )
        return EngineStoppedError(self._problem)


def _parse_answer(answer: dict[str, Any], body: bytes) -> tuple[list[NDArray[np.float32]], float]:
    """Return the arrays of an answer, and the seconds that the model took.

    Raises:
        MessageError: The answer does not have the right form.
    """
    found, start = [], 0
    try:
        for shape in answer["shapes"]:
            count = int(np.prod(shape, dtype=np.int64))
            found.append(np.frombuffer(body, np.float32, count, start).reshape(shape))
            start += 4 * count
        seconds = float(answer["seconds"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError("the shapes, the seconds or the bytes are invalid") from error
    if start != len(body) or not 0 <= seconds < math.inf:
        raise MessageError("the shapes, the seconds or the bytes are invalid")
    return found, seconds
