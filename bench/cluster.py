"""Replicas with Ray: `python -m bench.cluster`, in .venv-cluster and on an otherwise idle machine.

It compares one and two Ray replicas with one process of `tensight serve`, counts what clients
notice while replicas are killed and replaced, and writes both to docs/SCALING.md.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.attacks import run_server
from bench.figures import ROUNDS, environment, write_tables
from bench.throughput import load
from core.registry.catalog import Catalog
from core.settings import Settings, processors
from tests.support import drawings
from tests.support.ray_cluster import Cluster, running_cluster
from tests.support.ray_failures import CLIENTS, PHOTOS, Outcome, kill_one, outcome_of, replace_all

__all__ = ["main", "tables"]

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "SCALING.md"
_CONCURRENCY = (1, 16)
_SECONDS = 3.0
_MODEL = "classic"
# How long a client retries a photo, as `RemotePredictor` does by default.
_TIMEOUT_S = 5.0


def main() -> None:
    """Measure overhead and failures, print them, and write them to the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in [each for each in os.environ if each.startswith("TENSIGHT_")]:
            del os.environ[each]
        os.environ |= {"PYTHONPATH": str(_ROOT), "TENSIGHT_HOME": str(folder / "home")}
        ratios = _compare_throughput(folder)
        with running_cluster(folder / "failures") as cluster:
            outcomes = _measure_failures(folder, cluster)
    for what, outcome in outcomes:
        for message in outcome.lost:
            sys.stdout.write(f"{what}: {message}\n")
    paragraphs = tables(environment(), ratios, outcomes)
    sys.stdout.write("\n\n".join(paragraphs) + "\n")
    write_tables(paragraphs, _PAGE, section="cluster", command="python -m bench.cluster")


def tables(
    machine: str,
    ratios: Sequence[tuple[int, int, float, float]],
    outcomes: Sequence[tuple[str, Outcome]],
) -> list[str]:
    """Return paragraphs and tables in Markdown.

    Args:
        machine: Machine and versions.
        ratios: Clients, Ray replicas, and their throughput and latency relative to one process.
        outcomes: What failed, and what clients noticed.
    """
    rows = ["| clients | Ray replicas | photos/s, relative | latency, relative |"]
    rows.append("| ---: | ---: | ---: | ---: |")
    rows += [
        f"| {clients} | {replicas} | {rate:.2f} | {latency:.2f} |"
        for clients, replicas, rate, latency in ratios
    ]
    failed = ["| what happens | times | photos | lost | wrong | sent again | median | p99 |"]
    failed.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    failed += [
        f"| {what} | {each.failures} | {each.photos:,} | {len(each.lost)} | {each.wrong} | "
        f"{each.retries} | {each.median_s * 1e3:,.0f} ms | {each.p99_s * 1e3:,.0f} ms |"
        for what, each in outcomes
    ]
    return [
        f"Model `{_MODEL}`, {machine}.",
        "Ray, relative to one process of `tensight serve` on the same machine. One replica has as "
        f"many threads as the process, two have one each; medians of {ROUNDS} alternating rounds "
        f"of {_SECONDS:g} s:",
        "\n".join(rows),
        f"{CLIENTS} clients send {PHOTOS:,} photos or more to two replicas, and retry each for "
        f"{_TIMEOUT_S:g} s:",
        "\n".join(failed),
    ]


def _compare_throughput(folder: Path) -> list[tuple[int, int, float, float]]:
    """Load Ray and the single process in turn, and return the ratios of their medians."""
    photo = folder / "photo.jpg"
    drawings.ship(640, 480).save(photo, quality=90)
    ratios = []
    for replicas, threads in ((1, processors()), (2, 1)):
        with ExitStack() as servers:
            ray = servers.enter_context(
                running_cluster(
                    folder / f"ray-{replicas}",
                    replicas=str(replicas),
                    environment={"TENSIGHT_THREADS": str(threads)},
                )
            )
            process = servers.enter_context(run_server("serve", folder))
            for clients in _CONCURRENCY:
                rates, latencies = _medians([ray.url, process.url], photo, clients)
                ratios.append((clients, replicas, rates[0] / rates[1], latencies[0] / latencies[1]))
    return ratios


def _medians(urls: Sequence[str], photo: Path, clients: int) -> tuple[list[float], list[float]]:
    """Return the median photos a second, and the median latency in milliseconds, by server."""
    rates: list[list[float]] = [[] for _ in urls]
    latencies: list[list[float]] = [[] for _ in urls]
    for _ in range(ROUNDS):
        for number, url in enumerate(urls):
            target = f"{url}/v1/predict?model={_MODEL}"
            sample = load("raw", target, photo, clients, _SECONDS)
            rates[number].append(len(sample) / _SECONDS)
            latencies[number].append(statistics.median(sample))
    return [statistics.median(each) for each in rates], [
        statistics.median(each) for each in latencies
    ]


def _measure_failures(folder: Path, cluster: Cluster) -> list[tuple[str, Outcome]]:
    """Return what clients notice of each failure."""
    photos = []
    for side in (320, 480, 640, 960):
        path = folder / f"{side}.jpg"
        drawings.ship(side, side * 3 // 4).save(path, quality=90)
        photos.append(path.read_bytes())
    classifier = Catalog(Settings(models=_ROOT / "models")).load(_MODEL)
    expected = [classifier.predict(photo).scores for photo in photos]
    failures = {
        "a replica is killed whenever both are ready": kill_one,
        "all replicas are replaced, again and again": replace_all,
    }
    return [
        (what, outcome_of(failure, cluster, photos, expected, timeout_s=_TIMEOUT_S))
        for what, failure in failures.items()
    ]


if __name__ == "__main__":
    main()
