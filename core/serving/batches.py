"""Gather decoded photos into batches that a model answers at once."""

from __future__ import annotations

import threading
from collections import deque

from core.errors import DeadlineError
from core.inference.multi_view import MAX_BATCH
from core.serving.jobs import DecodedJob

__all__ = ["Batches"]


class Batches:
    """Decoded photos that wait for a model, and the order in which they run.

    One runner takes batches until there is none; then the next photo has to start another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoded: deque[DecodedJob] = deque()
        self._running = False
        self._explained_last = False
        self._explained_client: str | None = None

    def add(self, decoded: DecodedJob) -> bool:
        """Add a photo.

        Returns:
            Whether a runner must be started. One answers all that wait: a runner for each photo
            would pile up, since one batch takes several photos.
        """
        with self._lock:
            self._decoded.append(decoded)
            start, self._running = not self._running, True
        return start

    def stop_running(self) -> None:
        """Let the next photo start another runner, since this one has failed."""
        with self._lock:
            self._running = False

    def take(self) -> list[DecodedJob]:
        """Take the next batch: the oldest photo and others for the same model.

        Every other batch is a single photo with saliency while any waits. Abandoned photos are
        dropped. The batch is empty if no photo waits.
        """
        with self._lock:
            dropped = [each.job for each in self._decoded if each.job.abandoned]
            waiting = [each for each in self._decoded if not each.job.abandoned]
            explained = [each for each in waiting if each.job.saliency]
            plain = [each for each in waiting if not each.job.saliency]
            self._explained_last = bool(explained) and not (plain and self._explained_last)
            if self._explained_last:
                # Clients take turns.
                others = [e for e in explained if e.job.client != self._explained_client]
                batch = (others or explained)[:1]
                self._explained_client = batch[0].job.client
            else:
                same = [each for each in plain if _kind(each) == _kind(plain[0])]
                batch = same[:MAX_BATCH]
            taken = set(map(id, batch))
            self._decoded = deque(each for each in waiting if id(each) not in taken)
            self._running = bool(batch)
        for job in dropped:
            job.future.set_exception(DeadlineError("The caller no longer waits for this photo."))
        return batch


def _kind(each: DecodedJob) -> tuple[int, bool]:
    """Return what photos of one batch have in common."""
    return id(each.classifier), each.job.base is None
