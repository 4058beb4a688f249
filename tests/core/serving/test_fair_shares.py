from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import BusyError, ImageError, UnavailableError
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.photos.prepare import prepare, to_archival_jpeg
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from tests.support.hostile_photos import encoded
from tests.support.processes import is_running

LARGE = encoded(Image.new("RGBA", (7_000, 7_000)), "PNG")


@pytest.fixture
def predictor(catalog: Catalog) -> Iterator[LocalPredictor]:
    # No photo has a quarter of a second; the slow ones end their workers.
    pool = PhotoPool(PhotoLimits(processor_s=0.2, wall_s=120), workers=4)
    made = LocalPredictor(catalog, queue_size=16, deadline_s=120, photos=pool)
    yield made
    made.close()


def test_worker_processes_return_the_numbers_of_this_process(
    predictor: LocalPredictor, catalog: Catalog, photo: Path
) -> None:
    for name in ("classic", "efficientnet"):
        expected = catalog.load(name).predict(photo)
        given = asyncio.run(predictor.predict(photo, model=name))
        assert given.scores == pytest.approx(expected.scores, abs=1e-6)
        assert given.photo == str(photo)
        content = asyncio.run(predictor.predict(photo.read_bytes(), model=name))
        assert content.scores == given.scores


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="limits on processor time need Linux")
def test_slow_photos_of_one_client_do_not_delay_others(
    predictor: LocalPredictor, photo: Path
) -> None:
    async def crowd() -> tuple[list[Any], list[Any]]:
        slow = [
            asyncio.ensure_future(predictor.predict(LARGE, model="classic", client="slow"))
            for _ in range(8)
        ]
        await asyncio.sleep(0)
        assert predictor.waiting == 8
        others = [
            await predictor.predict(photo, model="classic", client=f"other {i}") for i in range(4)
        ]
        return others, await asyncio.gather(*slow, return_exceptions=True)

    others, slow = asyncio.run(crowd())
    assert len(others) == 4
    assert {getattr(each, "code", None) for each in slow} <= {"unsupported", "busy"}
    assert any(isinstance(each, ImageError) for each in slow)


def test_client_beyond_its_share_gets_busy_error(predictor: LocalPredictor, photo: Path) -> None:
    async def crowd() -> list[Any]:
        asked = [predictor.predict(photo, model="classic", client="other")]
        asked += [predictor.predict(photo, model="classic", client="many") for _ in range(15)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, *given = asyncio.run(crowd())
    assert first.model == "classic"
    refused = [each for each in given if isinstance(each, BusyError)]
    assert all(each.retry_after >= 1 for each in refused)
    assert len(given) - len(refused) >= 4, "its share is a quarter of 16 places"


def test_preview_and_archival_jpeg_come_from_workers(
    predictor: LocalPredictor, catalog: Catalog, photo: Path
) -> None:
    given = asyncio.run(
        predictor.predict_with_preview(photo, model="classic", saliency=True, side=200)
    )
    classifier = catalog.load("classic")
    assert given.prediction.scores == classifier.predict(photo).scores
    assert given.prediction.saliency is not None
    assert given.preview.shape == (150, 200, 3)
    prepared = prepare(photo, classifier.preparation())
    assert prepared.crops is not None
    assert np.array_equal(given.model_input, prepared.crops[len(prepared.crops) // 2])
    assert asyncio.run(predictor.archival_jpeg(photo)) == to_archival_jpeg(photo)
    with pytest.raises(ImageError):
        asyncio.run(predictor.archival_jpeg(b"no photo"))


def test_closing_the_predictor_ends_its_workers(catalog: Catalog, photo: Path) -> None:
    pool = PhotoPool(PhotoLimits(), workers=2)
    predictor = LocalPredictor(catalog, queue_size=4, deadline_s=60, photos=pool)
    asyncio.run(predictor.predict(photo, model="classic"))
    workers = pool.process_ids()
    assert workers
    predictor.close()
    assert not any(map(is_running, workers))
    with pytest.raises(UnavailableError, match="closed"):
        asyncio.run(predictor.archival_jpeg(photo))
