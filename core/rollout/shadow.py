"""Run a shadow: a candidate answers copies of photos without slowing down visitors."""

from __future__ import annotations

import hashlib
import logging
import queue
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.inference.prediction import Prediction
from core.message_process import MessageProcess
from core.messages import MessageError
from core.store.rollout_evidence import AnswerSummary, Comparison, answer_digest
from core.store.rollouts import Rollout

__all__ = ["MAX_UNSTORED", "ShadowLimits", "ShadowRunner"]

MAX_UNSTORED = 1000
"""Maximum number of comparisons that wait to be stored; further ones replace the oldest."""

_MAX_SEEN = 1000
_POLL_S = 0.05

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShadowLimits:
    """Limits of a shadow.

    Attributes:
        photos: Maximum number of copies that wait; further ones are dropped.
        photo_bytes: Maximum total size of the waiting copies, in bytes.
        wait_s: Seconds after which a waiting copy is dropped.
        answer_timeout_s: Timeout of an answer in seconds, after which the process is killed.
        start_timeout_s: Timeout of the start of the process, in seconds.
        restart_s: Pause in seconds before a process that failed is started again; it doubles with
            each failure until an answer.
        max_restart_s: Maximum of that pause.
    """

    photos: int = 16
    photo_bytes: int = 64 * 2**20
    wait_s: float = 30.0
    answer_timeout_s: float = 20.0
    start_timeout_s: float = 120.0
    restart_s: float = 1.0
    max_restart_s: float = 300.0


class ShadowRunner:
    """Runs a candidate in a process of its own on copies of photos, while no visitor waits.

    A photo that comes again, as for its explanation, is not compared again.

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
        self._is_idle = is_idle
        self._limits = limits or ShadowLimits()
        self._copies: queue.SimpleQueue[tuple[float, bytes, Prediction] | None]
        self._copies = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._done: deque[Comparison] = deque(maxlen=MAX_UNSTORED)
        self._failed = self._dropped = 0
        self._closed = threading.Event()
        # Of the thread alone: digests of the latest photos, and when the process may be started.
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._pause_s = self._not_before = 0.0
        self._has_refused = False
        self._process = MessageProcess(
            [*command, *map(str, folders)],
            start_timeout_s=self._limits.start_timeout_s,
            answer_timeout_s=self._limits.answer_timeout_s,
        )
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of copies that wait or are being answered."""
        return self._waiting

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
            found = list(self._done), self._failed, self._dropped
            self._done.clear()
            self._failed = self._dropped = 0
        return found

    def close(self) -> None:
        """Stop the worker, and drop the copies that wait."""
        self._closed.set()
        self._copies.put(None)
        self._process.close()
        self._thread.join()

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None and not self._closed.is_set():
            queued_at, photo, prediction = copy
            try:
                self._handle(queued_at, photo, prediction)
            except Exception:
                # One photo must not end the shadow. What its process would answer next is unknown.
                logger.exception("The shadow %s failed at a photo", self._name)
                self._end_process()
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._waiting_bytes -= len(photo)
            del copy, photo
        self._process.end()

    def _handle(self, queued_at: float, photo: bytes, prediction: Prediction) -> None:
        """Compare the answers to a photo, unless it was compared before or waits too long."""
        digest = hashlib.blake2b(photo, digest_size=16).digest()
        if digest in self._seen:
            return
        if not self._wait_for_turn(queued_at):
            with self._lock:
                self._dropped += 1
            return
        self._seen[digest] = None
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        self._compare(photo, prediction)

    def _wait_for_turn(self, queued_at: float) -> bool:
        """Wait until no visitor waits and the process may run; return False if it takes long."""
        while (now := time.monotonic()) - queued_at < self._limits.wait_s:
            if now >= self._not_before and self._is_idle():
                return True
            if self._closed.wait(_POLL_S):
                break
        return False

    def _compare(self, photo: bytes, live: Prediction) -> None:
        try:
            answer, _ = self._process.ask({}, photo)
        except (OSError, EOFError, MessageError) as error:
            self._fail(error)
            return
        # The process works, whatever it answers.
        self._pause_s = 0.0
        try:
            if "error" in answer:
                raise ValueError(str(answer["error"]))
            candidate = AnswerSummary.from_dict(answer)
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(error)
            return
        summary = AnswerSummary(
            live.label, live.verdict, live.confidence, live.known_score, live.timing_ms.infer
        )
        digest = answer_digest(live.model, live.revision, live.scores)
        with self._lock:
            self._done.append(Comparison(digest, summary, candidate))

    def _refuse(self, error: Exception) -> None:
        """Count a photo that the candidate cannot answer; the first one is logged."""
        with self._lock:
            self._failed += 1
        log = logger.debug if self._has_refused else logger.warning
        self._has_refused = True
        log("The shadow %s did not answer a photo: %s", self._name, error)

    def _end_process(self) -> str:
        """End the process after a failure, and count it; the next start has to wait.

        Returns:
            As for `MessageProcess.end`.
        """
        text, limits = self._process.end(), self._limits
        self._pause_s = min(max(2 * self._pause_s, limits.restart_s), limits.max_restart_s)
        self._not_before = time.monotonic() + self._pause_s
        with self._lock:
            self._failed += 1
        return text

    def _fail(self, error: Exception) -> None:
        """End the process after a failure, and log why."""
        if self._closed.is_set():
            return  # stopping is not a failure of the candidate
        text = self._end_process()
        logger.warning(
            "The process of the shadow %s crashed, or did not answer within %g s (%s); it is not "
            "started again for %g s. The end of its standard error: %s",
            self._name,
            self._limits.answer_timeout_s,
            str(error) or type(error).__name__,
            self._pause_s,
            text or "(nothing)",
        )

    @property
    def _name(self) -> str:
        return f"{self.rollout.model} {self.rollout.candidate}"
