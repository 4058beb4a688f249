"""Processor time and memory of the HTTP service by model, for docs/SCALING.md."""

from __future__ import annotations

from pathlib import Path

from bench.attacks import run_server
from bench.figures import Section, environment, processor_s, resident_mb, write_tables
from bench.photos import Photos
from bench.throughput import load
from core.registry.catalog import Catalog
from core.settings import Settings

__all__ = ["measure_model", "scaling"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "SCALING.md"
_CLIENTS = 4
_WARM_UP_S = 2.0
_SECONDS = 20.0
_MILLION = 1_000_000


def scaling(photos: Photos, folder: Path) -> Section:
    """Measure what a photo costs with each model, and write it to docs/SCALING.md.

    Args:
        photos: Photos to send.
        folder: Folder for log files.
    """
    section = Section(
        "Cost of a photo",
        f"{_CLIENTS} clients send the photo of 200 kB to `tensight serve` with one thread for "
        f"inference, {_SECONDS:g} s for each model: processor time of the service and its workers "
        "for each photo, and their resident memory afterwards.",
    )
    rows = ["| model | core-seconds per million photos | photos per core-second | memory |"]
    rows.append("| --- | ---: | ---: | ---: |")
    for model in [each.config.name for each in Catalog(Settings()).models()]:
        seconds, memory = measure_model(model, photos.usual, folder, seconds=_SECONDS)
        section.add(f"{model}: core-seconds per million photos", seconds * _MILLION, "s")
        section.add(f"{model}: resident memory", memory, "MB")
        rows.append(
            f"| `{model}` | {seconds * _MILLION:,.0f} | {1 / seconds:,.0f} | {memory:,.0f} MB |"
        )
    machine = f"{section.how} {environment()}."
    write_tables([machine, "\n".join(rows)], _PAGE, section="scaling")
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
