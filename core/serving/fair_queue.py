"""A bounded queue of photos with fair shares for clients."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["FairQueue", "FullError", "QueueLimits"]


class FullError(Exception):
    """The queue is full, or the client has its share of it."""


class _Queued(Protocol):
    """A job in the queue.

    Attributes:
        client: Key of the client; None for a trusted caller, which has no share.
        pixels: Pixels that count towards `QueueLimits.pixels` while the job runs.
        best_effort: Whether the job is refused unless a worker is idle.
    """

    @property
    def client(self) -> str | None: ...

    @property
    def pixels(self) -> int: ...

    @property
    def best_effort(self) -> bool: ...


_J = TypeVar("_J", bound=_Queued)


@dataclass(frozen=True)
class QueueLimits:
    """Limits of a queue.

    Attributes:
        places: Maximum number of jobs that wait or run.
        share: Share of the places that one client may hold while others hold any.
        running: Maximum number of running jobs of one client, so that one client's slow photos
            never occupy all workers.
        pixels: Maximum total of pixels of the running jobs; a larger job runs alone.
    """

    places: int
    share: float
    running: int
    pixels: int

    @property
    def places_each(self) -> int:
        """Number of places that one client may hold while others hold any."""
        return max(1, math.floor(self.places * self.share))


class FairQueue(Generic[_J]):
    """Hands jobs to workers, round-robin over clients. Safe to share between threads.

    A job holds its place from `put` to `leave`, which includes the time after `finish` until its
    result is ready. A best-effort job holds no place, so that it never keeps another job out: it is
    accepted only while fewer jobs of all kinds than `QueueLimits.running` are in the queue.

    Args:
        limits: Limits of the queue.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._lock = threading.Condition()
        self._held: Counter[str | None] = Counter()
        self._best_effort = 0
        self._waiting: OrderedDict[str | None, deque[_J]] = OrderedDict()
        self._running: Counter[str | None] = Counter()
        self._pixels: Counter[str | None] = Counter()
        self._closed = False

    @property
    def taken(self) -> int:
        """Number of places that are taken."""
        return self._held.total()

    def put(self, job: _J) -> _J | None:
        """Add a job.

        Returns:
            The job that was evicted to make room, of a client that held more than its share; None
            if there was room.

        Raises:
            FullError: The queue is full, or the client has its share while others hold places; or
                no worker is idle for a best-effort job.
        """
        evicted = None
        with self._lock:
            if self._closed:
                raise FullError
            if job.best_effort:
                if self._held.total() + self._best_effort >= self._limits.running:
                    raise FullError
                self._best_effort += 1
            else:
                evicted = self._make_room(job.client)
                self._held[job.client] += 1
            self._waiting.setdefault(job.client, deque()).append(job)
            self._lock.notify_all()
        return evicted

    def take(self) -> _J | None:
        """Wait for a job that may run now, and start it; None once the queue is closed."""
        with self._lock:
            while not self._closed:
                for client, jobs in self._waiting.items():
                    if self._may_run(client, jobs[0]):
                        return self._begin(client)
                self._lock.wait()
            return None

    def finish(self, job: _J) -> None:
        """Mark a job as no longer running; it keeps its place until `leave`."""
        with self._lock:
            self._subtract(self._running, job.client, 1)
            self._subtract(self._pixels, job.client, job.pixels)
            self._lock.notify_all()

    def leave(self, job: _J) -> None:
        """Free the place of a job, and remove it if it still waits."""
        with self._lock:
            if job.best_effort:
                self._best_effort -= 1
            else:
                self._subtract(self._held, job.client, 1)
            waiting = self._waiting.get(job.client, deque())
            if any(each is job for each in waiting):
                waiting.remove(job)
                if not waiting:
                    del self._waiting[job.client]

    def close(self) -> list[_J]:
        """Close the queue, and return the jobs that still wait."""
        with self._lock:
            self._closed = True
            left = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._lock.notify_all()
        return left

    def _make_room(self, client: str | None) -> _J | None:
        """Make sure that there is a place for a client, and return the job evicted for it, if any.

        Raises:
            FullError: See `put`.
        """
        held, taken = self._held[client], self._held.total()
        if client is not None and held >= self._limits.places_each and taken > held:
            raise FullError
        if taken < self._limits.places:
            return None
        evicted = self._newest_beyond_share(client)
        if evicted is None:
            raise FullError
        return evicted

    def _may_run(self, client: str | None, job: _J) -> bool:
        limits, pixels = self._limits, self._pixels.total()
        if client is not None:
            if self._running[client] >= limits.running:
                return False
            running_pixels = self._pixels[client]
            # Half of the pixels are for other clients, unless this is the client's only job.
            if running_pixels and running_pixels + job.pixels > limits.pixels // 2:
                return False
        return not pixels or pixels + job.pixels <= limits.pixels

    def _begin(self, client: str | None) -> _J:
        jobs = self._waiting[client]
        job = jobs.popleft()
        self._running[client] += 1
        self._pixels[client] += job.pixels
        if jobs:
            # Its next turn comes after those of all other clients.
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        return job

    def _newest_beyond_share(self, client: str | None) -> _J | None:
        """Remove and return the newest waiting job of the client that holds most places."""
        if client is None:
            return None
        for other, held in self._held.most_common():
            if held <= self._limits.places_each:
                return None
            jobs = self._waiting.get(other, deque())
            if other is not None and other != client and jobs and not jobs[-1].best_effort:
                job = jobs.pop()
                if not jobs:
                    del self._waiting[other]
                return job
        return None

    @staticmethod
    def _subtract(counter: Counter[str | None], client: str | None, n: int) -> None:
        counter[client] -= n
        if counter[client] <= 0:
            del counter[client]  # so that the counter does not grow with every client
