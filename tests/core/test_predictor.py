from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.catalog import Catalog
from core.classifier import Classifier, Prediction
from core.errors import BusyError, DeadlineError, ImageError, ModelNotFoundError, PredictorError
from core.images import Photo
from core.predictor import LocalPredictor
from core.settings import Settings
from tests.conftest import ROOT


class SlowCatalog(Catalog):
    """A catalog whose classifiers wait until they are let go."""

    def __init__(self) -> None:
        super().__init__(Settings(models=ROOT / "models"))
        self.go = threading.Event()
        self.asked = 0

    def load(self, name: str | None = None) -> Classifier:
        classifier = super().load(name)
        outer = self

        class Slow(Classifier):
            def __init__(self) -> None:
                pass

            def predict(self, photo: Photo, *, saliency: bool = False) -> Prediction:
                outer.asked += 1
                outer.go.wait(30)
                return classifier.predict(photo, saliency=saliency)

        return Slow()


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
    predictor = LocalPredictor(slow, queue_size=4, deadline_s=0.2)

    async def wait() -> list[Any]:
        calls = [predictor.predict(photo) for _ in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(wait())] == [DeadlineError] * 4
    slow.go.set()
    predictor.close()
    assert slow.asked == 2, "the two that ran; the two that waited were dropped"


def test_running_work_keeps_its_place_until_it_ends(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=1, deadline_s=0.2)
    with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
        asyncio.run(predictor.predict(photo))
    with pytest.raises(BusyError):
        asyncio.run(predictor.predict(photo))
    slow.go.set()
    predictor.close()
