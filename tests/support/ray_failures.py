"""Failures of Ray replicas under load, and what clients notice of them."""

from __future__ import annotations

import logging
import os
import signal
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from core.inference.prediction import Prediction
from tests.support.processes import is_running
from tests.support.ray_cluster import Cluster, Load
from tests.support.servers import wait_for

__all__ = ["CLIENTS", "PHOTOS", "Failure", "Outcome", "kill_one", "outcome_of", "replace_all"]

CLIENTS = 16
"""Clients that send at the same time."""
PHOTOS = 2_000
"""Photos that are answered before failures end."""
_REPLICAS = 2
# Outer limit in seconds for replacing a replica, on a busy machine too.
_OUTER_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """Effects of failures on clients.

    Attributes:
        photos: Photos that were sent.
        failures: How many times something failed.
        lost: Why the client gave up photos, a message each.
        wrong: Answers that differ from those of this process by more than 1e-5.
        retries: Requests that the client sent again.
        median_s: Median of the seconds until an answer, with all retries.
        p99_s: Its 99th percentile.
    """

    photos: int
    failures: int
    lost: tuple[str, ...]
    wrong: int
    retries: int
    median_s: float
    p99_s: float


Failure = Callable[[Cluster, Load], None]
"""Lets something fail, and returns once the cluster has recovered."""


def outcome_of(
    failure: Failure,
    cluster: Cluster,
    photos: Sequence[bytes],
    expected: Sequence[Mapping[str, float]],
    *,
    timeout_s: float,
) -> Outcome:
    """Send photos from all clients, and let something fail until enough are answered.

    Args:
        failure: Lets something fail, and returns once the cluster has recovered.
        cluster: A cluster of two replicas.
        photos: The photos, sent in turn.
        expected: The scores of each photo.
        timeout_s: Timeout in seconds of a photo, with all retries of the client.
    """
    load = Load(cluster.url, photos, clients=CLIENTS, timeout_s=timeout_s)
    failures = 0
    cluster.wait_until_ready(_REPLICAS)
    with _counted_retries() as retries, load.running():
        while len(load.answers) < PHOTOS:
            failure(cluster, load)
            failures += 1
    seconds = sorted(load.seconds)
    return Outcome(
        len(load.answers),
        failures,
        lost=tuple(
            f"{type(answer).__name__} after {taken:.1f} s: {answer}"
            for (_, answer), taken in zip(load.answers, load.seconds, strict=True)
            if isinstance(answer, Exception)
        ),
        wrong=sum(
            answer.scores != pytest.approx(expected[photo], abs=1e-5)
            for photo, answer in load.answers
            if isinstance(answer, Prediction)
        ),
        retries=retries.count,
        median_s=statistics.median(seconds),
        p99_s=seconds[int(0.99 * (len(seconds) - 1))],
    )


def kill_one(cluster: Cluster, load: Load) -> None:
    """Kill one of the ready replicas, and wait until as many are ready again."""
    victim = cluster.replicas()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not is_running(victim))
    wait_for(lambda: len(load.answers) >= PHOTOS or _all_ready(cluster), seconds=_OUTER_S)


def replace_all(cluster: Cluster, load: Load) -> None:
    """Deploy the same application again, which replaces each replica in turn."""
    before, answered = set(cluster.replicas()), len(load.answers)
    cluster.deploy_again()
    wait_for(lambda: not before & set(cluster.replicas()) and _all_ready(cluster), seconds=_OUTER_S)
    # The new replicas answer before they are replaced in turn.
    wait_for(lambda: len(load.answers) >= answered + CLIENTS, seconds=_OUTER_S)


def _all_ready(cluster: Cluster) -> bool:
    return len(cluster.ready_replicas()) == _REPLICAS == len(cluster.replicas())


class _Retries(logging.Handler):
    """Counts the requests that the client sends again."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a retry; other messages are of a higher level."""
        self.count += record.levelno == logging.DEBUG


@contextmanager
def _counted_retries() -> Iterator[_Retries]:
    log, retries = logging.getLogger("core.serving.remote"), _Retries()
    level = log.level
    log.addHandler(retries)
    log.setLevel(logging.DEBUG)
    try:
        yield retries
    finally:
        log.setLevel(level)
        log.removeHandler(retries)
