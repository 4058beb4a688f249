"""Processor time and memory of the HTTP service by model, and replicas, for docs/SCALING.md."""

from __future__ import annotations

import shutil
import statistics
from contextlib import ExitStack
from pathlib import Path

from bench.attacks import run_server
from bench.figures import ROUNDS, Section, environment, processor_s, resident_mb, write_tables
from bench.photos import Photos
from bench.throughput import load
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.support.caddy import proxy_running

__all__ = ["measure_model", "measure_replicas", "scaling"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "SCALING.md"
_CLIENTS = 4
_WARM_UP_S = 2.0
_SECONDS = 20.0
_REPLICA_CLIENTS = 16
_ROUND_S = 5.0
_MILLION = 1_000_000


def scaling(photos: Photos, folder: Path) -> Section:
    """Measure what a photo costs with each model, and write it to docs/SCALING.md.

    Args:
        photos: Photos to send.
        folder: Folder for log files.

    Raises:
        RuntimeError: Caddy is not installed.
    """
    if shutil.which("caddy") is None:
        raise RuntimeError("Caddy is not installed. On Debian: apt-get install caddy")
    section = Section(
        "Cost of a photo",
        f"{_CLIENTS} clients send the photo of 200 kB to `tensight serve` with one thread for "
        f"inference, {_SECONDS:g} s for each model: processor time of the service and its workers "
        "for each photo, and their resident memory afterwards.",
    )
    rows = [
        "| model | photos a second on one core | core-seconds per million photos | memory |",
        "| --- | ---: | ---: | ---: |",
    ]
    catalog = Catalog(Settings())
    for model in [each.config.name for each in catalog.models()]:
        seconds, memory = measure_model(model, photos.typical, folder, seconds=_SECONDS)
        section.add(f"{model}: core-seconds per million photos", seconds * _MILLION, "s")
        section.add(f"{model}: resident memory", memory, "MB")
        rows.append(
            f"| `{model}` | {1 / seconds:,.0f} | {seconds * _MILLION:,.0f} | {memory:,.0f} MB |"
        )
    one, two = measure_replicas(catalog.default(), photos.typical, folder, seconds=_ROUND_S)
    section.add("one replica behind Caddy", one, "photos/s")
    section.add("two replicas behind Caddy", two, "photos/s")
    section.add("two replicas relative to one, on one machine", two / one, "times")
    replicas = (
        f"On this one machine, {_REPLICA_CLIENTS} clients of Caddy get {one:,.0f} photos/s of "
        f"`{catalog.default()}` from one replica and {two:,.0f} from two, {two / one:.2f} times as "
        f"many (medians of {ROUNDS} alternating rounds of {_ROUND_S:g} s)."
    )
    paragraphs = [f"{section.method} {environment()}.", "\n".join(rows), replicas]
    write_tables(paragraphs, _PAGE, section="scaling")
    return section


def measure_model(model: str, photo: Path, folder: Path, *, seconds: float) -> tuple[float, float]:
    """Measure the service with one model.

    Args:
        model: Name of the model.
        photo: Photo to send.
        folder: Folder for the log.
        seconds: How long photos are sent.

    Returns:
        Processor time of a photo in seconds, and resident memory in MiB.
    """
    with run_server("serve", folder, TENSIGHT_MODEL=model, TENSIGHT_THREADS="1") as server:
        url, pid = f"{server.url}/v1/predict", server.process.pid
        load("raw", url, photo, _CLIENTS, min(_WARM_UP_S, seconds))
        before = processor_s(pid)
        answers = load("raw", url, photo, _CLIENTS, seconds)
        return (processor_s(pid) - before) / len(answers), resident_mb(pid)


def measure_replicas(
    model: str, photo: Path, folder: Path, *, seconds: float, rounds: int = ROUNDS
) -> tuple[float, float]:
    """Measure the throughput of one replica and of two behind Caddy, all on this machine.

    Args:
        model: Name of the model.
        photo: Photo to send.
        folder: Folder for logs and configurations.
        seconds: How long photos are sent in each round.
        rounds: Number of rounds, in each of which both are loaded in turn.

    Returns:
        Median photos a second with one replica, and with two.
    """
    with ExitStack() as servers:
        services: list[str] = []
        urls: list[str] = []
        for number in (1, 2):
            own = folder / f"replicas-{number}"
            own.mkdir()
            server = servers.enter_context(run_server("serve", own, TENSIGHT_MODEL=model))
            services.append(f"127.0.0.1:{server.port}")
            proxy = servers.enter_context(proxy_running(own, services=services))
            urls.append(f"{proxy.internal}/v1/predict")
        for url in urls:
            load("raw", url, photo, _REPLICA_CLIENTS, min(_WARM_UP_S, seconds))
        rates = [
            [len(load("raw", url, photo, _REPLICA_CLIENTS, seconds)) / seconds for url in urls]
            for _ in range(rounds)
        ]
    one, two = (statistics.median(each) for each in zip(*rates, strict=True))
    return one, two
