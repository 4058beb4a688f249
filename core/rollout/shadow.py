"""Run a shadow: a candidate answers copies of photos without slowing down visitors."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.inference.prediction import Prediction
from core.photos.messages import MessageError, read_message, write_message
from core.store.rollouts import AnswerSummary, Comparison, Rollout, answer_digest

__all__ = ["ShadowLimits", "ShadowRunner"]

# Environment variables that the worker inherits: it must see no token, key or password.
_INHERITED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG")
_POLL_S = 0.05


@dataclass(frozen=True)
class ShadowLimits:
    """Limits of a shadow.

    Attributes:
        photos: Maximum number of copies that wait; further ones are dropped.
        photo_bytes: Maximum total size of the waiting copies, in bytes.
        wait_s: Seconds after which a waiting copy is dropped.
        answer_s: Seconds that an answer may take; beyond them, its process is killed.
        start_s: Seconds that the start of the process may take.
    """

    photos: int = 16
    photo_bytes: int = 64 * 2**20
    wait_s: float = 30.0
    answer_s: float = 20.0
    start_s: float = 120.0


class ShadowRunner:
    """Runs a candidate in a process of its own on copies of photos, while no visitor waits.

    Args:
        rollout: The shadow.
        *folders: Model folder of the candidate, and that of its base where it has one.
        is_idle: Returns whether no photo of a visitor waits or runs.
        command: Command line of the worker without the folders.
        limits: Limits of the shadow.
    """

    def __init__(
        self,
        rollout: Rollout,
        *folders: Path,
        is_idle: Callable[[], bool],
        command: tuple[str, ...] = (sys.executable, "-m", "core.rollout.shadow_worker"),
        limits: ShadowLimits | None = None,
    ) -> None:
        self.rollout = rollout
        self._folders = folders
        self._is_idle = is_idle
        self._command = command
        self._limits = limits or ShadowLimits()
        self._copies: queue.SimpleQueue[tuple[float, bytes, Prediction] | None]
        self._copies = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._done: list[Comparison] = []
        self._failed = self._dropped = 0
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, photo: bytes, prediction: Prediction) -> bool:
        """Queue a copy of an answered photo, unless too many wait; never blocks.

        Args:
            photo: The photo.
            prediction: The live revision's answer.

        Returns:
            Whether the copy was queued.
        """
        limits = self._limits
        with self._lock:
            taken = (
                self._waiting < limits.photos
                and self._waiting_bytes + len(photo) <= limits.photo_bytes
            )
            if not taken:
                self._dropped += 1
                return False
            self._waiting += 1
            self._waiting_bytes += len(photo)
        self._copies.put((time.monotonic(), photo, prediction))
        return True

    def collect(self) -> tuple[list[Comparison], int, int]:
        """Return the comparisons, and numbers of failed and dropped copies, since the last call."""
        with self._lock:
            found = self._done, self._failed, self._dropped
            self._done, self._failed, self._dropped = [], 0, 0
        return found

    def close(self) -> None:
        """Stop the worker, and drop the copies that wait."""
        self._closed.set()
        self._copies.put(None)
        self._kill()
        self._thread.join()

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None and not self._closed.is_set():
            queued_at, photo, prediction = copy
            if self._wait_until_idle(queued_at):
                self._compare(photo, prediction)
            else:
                with self._lock:
                    self._dropped += 1
            with self._lock:
                self._waiting -= 1
                self._waiting_bytes -= len(photo)
            del copy, photo
        self._end_process()

    def _wait_until_idle(self, queued_at: float) -> bool:
        while time.monotonic() - queued_at < self._limits.wait_s:
            if self._is_idle():
                return True
            if self._closed.wait(_POLL_S):
                break
        return False

    def _compare(self, photo: bytes, live: Prediction) -> None:
        try:
            answer = self._request_answer(photo)
            candidate = AnswerSummary(
                str(answer["label"]),
                str(answer["verdict"]),
                float(answer["confidence"]),
                float(answer["known_score"]),
                float(answer["ms"]),
            )
        except (OSError, EOFError, MessageError, KeyError, TypeError, ValueError):
            self._end_process()
            with self._lock:
                self._failed += not self._closed.is_set()
            return
        summary = AnswerSummary(
            live.label, live.verdict, live.confidence, live.known_score, live.timing_ms.infer
        )
        digest = answer_digest(live.model, live.revision, live.scores)
        with self._lock:
            self._done.append(Comparison(digest, summary, candidate))

    def _request_answer(self, photo: bytes) -> Mapping[str, Any]:
        """Send a photo to the worker process, which is started if necessary."""
        if self._process is None or self._process.poll() is not None:
            self._end_process()
            self._start()
            self._receive(self._limits.start_s)
        if self._process is None:
            raise EOFError
        with self._killed_after(self._limits.answer_s):
            write_message(cast("Any", self._process.stdin), {}, photo)
        return self._receive(self._limits.answer_s)

    def _start(self) -> None:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._lock:
            if self._closed.is_set():
                raise EOFError
            self._process = subprocess.Popen(
                [*self._command, *map(str, self._folders)],
                env=environment,
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def _receive(self, seconds: float) -> Mapping[str, Any]:
        process = self._process
        if process is None:
            raise EOFError
        with self._killed_after(seconds):
            return read_message(cast("Any", process.stdout), max_bytes=0)[0]

    def _killed_after(self, seconds: float) -> _Deadline:
        return _Deadline(seconds, self._kill)

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _end_process(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    if stream is not None:
                        stream.close()


class _Deadline:
    """Context manager that calls a function if it is still open after some seconds."""

    def __init__(self, seconds: float, on_timeout: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, on_timeout)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
