"""Memory growth over 100,000 predictions in one process."""

from __future__ import annotations

import asyncio
import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from bench.figures import Section, resident_mb
from bench.photos import Photos
from core.serving.connect import local_predictor
from core.settings import Settings

__all__ = ["memory"]

_PREDICTIONS = 100_000
_BASELINE_PREDICTIONS = 2_000
_CLIENTS = 32


def memory(photos: Photos, folder: Path) -> Section:
    """Measure resident memory after the first 2,000 and after 100,000 predictions.

    Args:
        photos: Photos to classify.
        folder: Not used.
    """
    section = Section(
        "Memory growth",
        f"Resident memory after {_PREDICTIONS:,} photos of 160 × 120 pixels, {_CLIENTS} "
        "concurrently, through the local predictor with the model `scratch`, compared with that "
        f"after the first {_BASELINE_PREDICTIONS:,}.",
    )
    del folder
    with Image.open(photos.typical) as photo:
        buffer = BytesIO()
        photo.resize((160, 120)).save(buffer, "JPEG", quality=85)
    before, after = asyncio.run(_measure_growth(buffer.getvalue()))
    section.add(f"resident after {_BASELINE_PREDICTIONS:,} photos", before, "MB")
    section.add(f"resident after {_PREDICTIONS:,} photos", after, "MB")
    section.add("growth", (after / before - 1) * 100, "%", "under 5%")
    return section


async def _measure_growth(photo: bytes) -> tuple[float, float]:
    predictor = local_predictor(Settings(queue_size=2 * _CLIENTS, deadline_s=60))
    predictor.warm()
    remaining = 0

    async def client() -> None:
        nonlocal remaining
        while remaining > 0:
            remaining -= 1
            await predictor.predict(photo, model="scratch")

    resident = []
    for count in (_BASELINE_PREDICTIONS, _PREDICTIONS - _BASELINE_PREDICTIONS):
        remaining = count
        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
        resident.append(resident_mb(os.getpid()))
    predictor.close()
    return resident[0], resident[1]
