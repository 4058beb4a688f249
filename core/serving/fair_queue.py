"""A bounded queue of photos that no client can keep to itself."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["FairQueue", "FullError", "QueueLimits"]


class FullError(Exception):
    """There is no place, or none for this client."""


class _Queued(Protocol):
    """What waits.

    Attributes:
        client: Who sent it; None: who is trusted with all places, as the command line.
        pixels: What it takes of `QueueLimits.pixels` while it is worked on.
    """

    @property
    def client(self) -> str | None: ...

    @property
    def pixels(self) -> int: ...


_J = TypeVar("_J", bound=_Queued)


@dataclass(frozen=True)
class QueueLimits:
    """What may be held.

    Attributes:
        places: Photos that wait or run at once.
        share: Part of the places that one client may hold while others hold any.
        running: Photos of one client that are worked on at once, however many workers there are:
            one client's slow photos must not keep all of them.
        pixels: Pixels that are worked on at once; a photo of more runs alone.
    """

    places: int
    share: float
    running: int
    pixels: int

    @property
    def places_each(self) -> int:
        """Places that one client may hold while others hold any."""
        return max(1, math.floor(self.places * self.share))


class FairQueue(Generic[_J]):
    """Hands photos to workers, one client after another. Safe to share between threads.

    A photo holds its place from `put` to `leave`: also while it is worked on, and after that as
    long as its answer is not there.

    Args:
        limits: What may be held.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._lock = threading.Condition()
        self._held: Counter[str | None] = Counter()
        self._waiting: OrderedDict[str | None, deque[_J]] = OrderedDict()
        self._running: Counter[str | None] = Counter()
        self._pixels: Counter[str | None] = Counter()
        self._closed = False

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._held.total()

    def put(self, job: _J) -> _J | None:
        """Take a place for a photo, and let it wait for a worker.

        Returns:
            A photo that lost its place to this one, of a client that held more than its share.

        Raises:
            FullError: There is no place; or others hold places, and the client has its share.
        """
        client, share = job.client, self._limits.places_each
        with self._lock:
            if self._closed:
                raise FullError
            held, taken = self._held[client], self._held.total()
            if client is not None and held >= share and taken > held:
                raise FullError
            evicted = None
            if taken >= self._limits.places:
                evicted = self._newest_beyond_share(client)
                if evicted is None:
                    raise FullError
            self._held[client] += 1
            self._waiting.setdefault(client, deque()).append(job)
            self._lock.notify_all()
        return evicted

    def take(self) -> _J | None:
        """Wait for a photo that may be worked on now; None once the queue is closed."""
        with self._lock:
            while not self._closed:
                for client, jobs in self._waiting.items():
                    if self._may_run(client, jobs[0]):
                        return self._begin(client)
                self._lock.wait()
            return None

    def finish(self, job: _J) -> None:
        """Tell that a photo that was taken is no longer worked on; it keeps its place."""
        with self._lock:
            self._subtract(self._running, job.client, 1)
            self._subtract(self._pixels, job.client, job.pixels)
            self._lock.notify_all()

    def leave(self, job: _J) -> None:
        """Give a place back, and wait no longer."""
        with self._lock:
            self._subtract(self._held, job.client, 1)
            waiting = self._waiting.get(job.client, deque())
            if any(each is job for each in waiting):
                waiting.remove(job)
                if not waiting:
                    del self._waiting[job.client]

    def close(self) -> list[_J]:
        """Hand out no more; returns what still waits."""
        with self._lock:
            self._closed = True
            left = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._lock.notify_all()
        return left

    def _may_run(self, client: str | None, job: _J) -> bool:
        limits, pixels = self._limits, self._pixels.total()
        if client is not None:
            if self._running[client] >= limits.running:
                return False
            mine = self._pixels[client]
            # Half of the pixels are for others, unless the photo is the client's only one.
            if mine and mine + job.pixels > limits.pixels // 2:
                return False
        return not pixels or pixels + job.pixels <= limits.pixels

    def _begin(self, client: str | None) -> _J:
        jobs = self._waiting[client]
        job = jobs.popleft()
        self._running[client] += 1
        self._pixels[client] += job.pixels
        if jobs:
            self._waiting.move_to_end(client)  # whose turn comes after all others'
        else:
            del self._waiting[client]
        return job

    def _newest_beyond_share(self, client: str | None) -> _J | None:
        """Drop the photo that waited the shortest, of the client that holds the most."""
        if client is None:
            return None
        for other, held in self._held.most_common():
            if held <= self._limits.places_each:
                return None
            if other is not None and other != client and other in self._waiting:
                jobs = self._waiting[other]
                job = jobs.pop()
                if not jobs:
                    del self._waiting[other]
                return job
        return None

    @staticmethod
    def _subtract(counter: Counter[str | None], client: str | None, n: int) -> None:
        counter[client] -= n
        if counter[client] <= 0:
            del counter[client]  # clients come and go
