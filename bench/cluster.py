"""Replicas with Ray: `python -m bench.cluster`, in .venv-cluster and on an otherwise idle machine.

It prints the throughput and latency of two Ray replicas relative to one process of `tensight
serve`, and what clients notice of failures: 16 clients send 2,000 photos while a replica is killed
whenever both are ready, and again while all replicas are replaced.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.processes import is_running
from tests.support.ray_cluster import Cluster, Load, running_cluster
from tests.support.servers import free_port, wait_for, wait_until_it_answers

__all__ = ["main"]

_CLIENTS = (1, 16)
_ROUNDS = 5
_SECONDS = 3.0
_PHOTOS = 2_000
_MODEL = "classic"
# That of the client where nothing else is given.
_PATIENCE_S = 5.0
_OUTER_S = 3_600.0


class _Retries(logging.Handler):
    """Counts the requests that the client sent again."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a retry; other messages are of a higher level."""
        self.count += record.levelno == logging.DEBUG


def main() -> None:
    """Measure overhead and failures, and print them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in [each for each in os.environ if each.startswith("TENSIGHT_")]:
            del os.environ[each]
        photo = folder / "photo.jpg"
        drawings.ship(640, 480).save(photo, quality=90)
        with running_cluster(folder / "ray") as cluster, _one_process(folder) as url:
            for clients in _CLIENTS:
                _compare(cluster.url, url, photo, clients)
        with running_cluster(folder / "failures") as cluster:
            _report("a replica killed whenever both are ready", cluster, _kill)
            _report("all replicas replaced, again and again", cluster, _replace)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _one_process(folder: Path) -> Iterator[str]:
    """Run `tensight serve` without Ray."""
    port, log = free_port(), folder / "process.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "serve", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TENSIGHT_HOME": str(folder / "process")},
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/readyz", server, log)
        wait_for(lambda: b"TenSight answers" in log.read_bytes())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _compare(ray: str, process: str, photo: Path, clients: int) -> None:
    """Load both in turn, and print the ratios of their medians."""
    rates: dict[str, list[float]] = {ray: [], process: []}
    latencies: dict[str, list[float]] = {ray: [], process: []}
    for _ in range(_ROUNDS):
        for url in (ray, process):
            taken = _load(url, photo, clients)
            rates[url].append(len(taken) / _SECONDS)
            latencies[url].append(statistics.median(taken))
    rate = statistics.median(rates[ray]) / statistics.median(rates[process])
    latency = statistics.median(latencies[ray]) / statistics.median(latencies[process])
    _say(
        f"{clients} client(s): Ray, two replicas, relative to one process: "
        f"{rate:.2f} times the photos/s, {latency:.2f} times the latency"
    )


def _load(url: str, photo: Path, clients: int) -> list[float]:
    """Return the latency in milliseconds of each answer in three seconds of load."""
    target = f"{url}/v1/predict?model={_MODEL}"
    run = subprocess.run(
        [sys.executable, "-m", "bench.load", "raw", target, photo, str(clients), str(_SECONDS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    taken: list[float] = json.loads(run.stdout)
    return taken


def _report(what: str, cluster: Cluster, fail: Callable[[Cluster, Load], int]) -> None:
    """Send all photos while something fails, and print what the clients noticed.

    Args:
        what: What happens, for the output.
        cluster: The cluster.
        fail: Called until all photos are answered; returns how many times it failed something.
    """
    photos, expected = _photos(cluster.home)
    retries = _Retries()
    log = logging.getLogger("core.serving.remote")
    log.addHandler(retries)
    log.setLevel(logging.DEBUG)
    load = Load(cluster.url, photos, clients=16, model=_MODEL, patience_s=_PATIENCE_S)
    failures = 0
    cluster.wait_until_ready(2)
    with load.running():
        while len(load.answers) < _PHOTOS:
            failures += fail(cluster, load)
    log.removeHandler(retries)
    lost = [answer for _, answer in load.answers if isinstance(answer, Exception)]
    wrong = [
        photo
        for photo, answer in load.answers
        if isinstance(answer, Prediction)
        and answer.scores != pytest.approx(expected[photo], abs=1e-5)
    ]
    p99 = sorted(load.seconds)[int(0.99 * (len(load.seconds) - 1))]
    _say(
        f"{what}: {len(load.answers):,} photos, {failures} times, {len(lost)} lost, "
        f"{len(wrong)} wrong, {retries.count} requests sent again, p99 {p99 * 1e3:,.0f} ms, "
        f"median {statistics.median(load.seconds) * 1e3:,.0f} ms"
    )


def _photos(folder: Path) -> tuple[list[bytes], Sequence[Mapping[str, float]]]:
    """Return photos, and the scores of each as this process computes them."""
    photos = []
    for side in (320, 480, 640, 960):
        path = folder / f"{side}.jpg"
        drawings.ship(side, side * 3 // 4).save(path, quality=90)
        photos.append(path.read_bytes())
    classifier = Catalog(Settings(models=ROOT / "models")).load(_MODEL)
    return photos, [classifier.predict(photo).scores for photo in photos]


def _kill(cluster: Cluster, load: Load) -> int:
    """Kill one of two ready replicas, and wait until there are two again."""
    victim = cluster.replicas()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not is_running(victim))
    wait_for(
        lambda: (
            len(load.answers) >= _PHOTOS
            or len(cluster.ready_replicas()) == 2 == len(cluster.replicas())
        ),
        seconds=_OUTER_S,
    )
    return 1


def _replace(cluster: Cluster, load: Load) -> int:
    """Deploy the same application again, which replaces each replica in turn."""
    del load
    before = set(cluster.replicas())
    cluster.deploy_again()
    wait_for(
        lambda: not before & set(cluster.replicas()) and len(cluster.ready_replicas()) == 2,
        seconds=_OUTER_S,
    )
    time.sleep(1)
    return 1


if __name__ == "__main__":
    main()
