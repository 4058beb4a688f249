from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.catalog import Catalog
from core.classifier import Prediction
from core.errors import BusyError, DeadlineError, ImageError, ModelNotFoundError, PredictorError
from core.predictor import LocalPredictor
from tests.slow import SlowCatalog


@pytest.fixture
def slow() -> Iterator[SlowCatalog]:
    catalog = SlowCatalog()
    yield catalog
    catalog.go.set()


def test_it_answers_as_the_classifier_does(catalog: Catalog, photo: Path) -> None:
    predictor = LocalPredictor(catalog, queue_size=4, deadline_s=30)
    prediction = asyncio.run(predictor.predict(photo, model="classic"))
    assert prediction.scores == catalog.load("classic").predict(photo).scores
    assert [entry.name for entry in predictor.models()] == [e.name for e in catalog.entries()]
    assert predictor.default_model() == catalog.default()
    predictor.close()


def test_errors_come_through(catalog: Catalog, photo: Path) -> None:
    predictor = LocalPredictor(catalog, queue_size=1, deadline_s=30)
    for _ in range(3):  # a place is freed after an error too
        with pytest.raises(ImageError):
            asyncio.run(predictor.predict(b"no photo"))
        with pytest.raises(ModelNotFoundError):
            asyncio.run(predictor.predict(photo, model="x"))
    predictor.close()
    with pytest.raises(PredictorError, match="closed"):
        asyncio.run(predictor.predict(photo))


def test_a_full_queue_says_when_to_come_back(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=3, deadline_s=30)

    async def crowd() -> list[Any]:
        tasks = [asyncio.create_task(predictor.predict(photo)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match=r"Try again in \d+ s") as caught:
            await predictor.predict(photo)
        assert caught.value.retry_after >= 1
        slow.go.set()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(crowd())) == 3
    asyncio.run(predictor.predict(photo))  # there is room again
    predictor.close()


def test_a_late_answer_is_given_up_and_what_waited_is_dropped(
    slow: SlowCatalog, photo: Path
) -> None:
    predictor = LocalPredictor(slow, queue_size=4, deadline_s=1)

    async def wait() -> list[Any]:
        calls = [predictor.predict(photo) for _ in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(wait())] == [DeadlineError] * 4
    slow.go.set()
    predictor.close()
    assert slow.asked == 2, "the two that ran; the two that waited were dropped"


def test_what_waits_is_told_that_the_predictor_closed(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=4, deadline_s=30)

    async def close() -> list[Any]:
        tasks = [asyncio.create_task(predictor.predict(photo)) for _ in range(4)]
        await asyncio.to_thread(slow.wait_until_asked, 2)
        closing = asyncio.get_running_loop().run_in_executor(None, predictor.close)
        await asyncio.sleep(0.1)
        slow.go.set()
        await closing
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(close())
    assert [type(result) for result in results] == [Prediction] * 2 + [PredictorError] * 2


def test_who_stops_waiting_is_cancelled(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=4, deadline_s=30)

    async def stop() -> list[bool]:
        tasks = [asyncio.create_task(predictor.predict(photo)) for _ in range(4)]
        await asyncio.to_thread(slow.wait_until_asked, 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return [task.cancelled() for task in tasks]

    assert asyncio.run(stop()) == [True] * 4
    slow.go.set()
    predictor.close()


def test_a_photo_that_was_given_up_is_not_kept(slow: SlowCatalog) -> None:
    class Watched:
        """Stands for a large photo; nothing reads it, since both workers are held."""

    predictor = LocalPredictor(slow, queue_size=4, deadline_s=1)
    photos: list[Any] = [Watched() for _ in range(4)]
    waiting = [weakref.ref(photo) for photo in photos[2:]]

    async def wait() -> None:
        calls = [predictor.predict(photo) for photo in photos]
        await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(wait())
    photos.clear()
    gc.collect()
    assert [reference() for reference in waiting] == [None, None]
    slow.go.set()
    predictor.close()


def test_running_work_keeps_its_place_until_it_ends(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=1, deadline_s=1)
    with pytest.raises(DeadlineError, match="within 1 s"):
        asyncio.run(predictor.predict(photo))
    with pytest.raises(BusyError):
        asyncio.run(predictor.predict(photo))
    slow.go.set()
    predictor.close()
