from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import (
    BundleError,
    BusyError,
    DeadlineError,
    ImageError,
    ModelNotFoundError,
    UnavailableError,
)
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.rollout.traffic import Rollouts
from core.serving.local import LocalPredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings, processors
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.catalogs import (
    CountingCatalog,
    FailingCatalog,
    GatheringBatches,
    RecordingObserver,
    SlowCatalog,
)
from tests.support.http_service import MODELS, PATIENCE_S

WORKERS = processors()


@pytest.fixture
def slow() -> Iterator[SlowCatalog]:
    catalog = SlowCatalog()
    yield catalog
    catalog.go.set()


def decoded_first(
    predictor: LocalPredictor, asked: Sequence[Coroutine[Any, Any, Prediction]]
) -> list[Prediction]:
    """Run predictions, the first batch once all photos are decoded."""
    predictor._batches = GatheringBatches(len(asked))

    async def crowd() -> list[Prediction]:
        return await asyncio.gather(*asked)

    return asyncio.run(crowd())


def test_prediction_equals_that_of_the_classifier(catalog: Catalog, photo: Path) -> None:
    predictor = LocalPredictor(catalog, queue_size=4, deadline_s=30)
    prediction = asyncio.run(predictor.predict(photo, model="classic"))
    assert prediction.scores == catalog.load("classic").predict(photo).scores
    names = [result.config.name for result in predictor.models()]
    assert names == [entry.name for entry in catalog.models()]
    assert predictor.default_model() == catalog.default()
    predictor.close()


def test_errors_are_raised_and_free_their_place(catalog: Catalog, photo: Path) -> None:
    predictor = LocalPredictor(catalog, queue_size=1, deadline_s=30)
    for _ in range(3):  # a place is freed after an error too
        with pytest.raises(ImageError):
            asyncio.run(predictor.predict(b"no photo"))
        with pytest.raises(ModelNotFoundError):
            asyncio.run(predictor.predict(photo, model="x"))
    predictor.close()
    with pytest.raises(UnavailableError, match="closed"):
        asyncio.run(predictor.predict(photo))


def test_full_queue_raises_busy_error_with_retry_after(slow: SlowCatalog, photo: Path) -> None:
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


def test_passed_deadline_drops_waiting_photos(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=2 * WORKERS, deadline_s=1)

    async def wait() -> list[Any]:
        calls = [predictor.predict(photo) for _ in range(2 * WORKERS)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(wait())] == [DeadlineError] * 2 * WORKERS
    slow.go.set()
    predictor.close()
    assert slow.asked == WORKERS, "those that ran; those that waited were dropped"


def test_closing_fails_waiting_photos_and_finishes_running_ones(
    slow: SlowCatalog, photo: Path
) -> None:
    predictor = LocalPredictor(slow, queue_size=2 * WORKERS, deadline_s=30)

    async def close() -> list[Any]:
        tasks = [asyncio.create_task(predictor.predict(photo)) for _ in range(2 * WORKERS)]
        await asyncio.to_thread(slow.wait_until_asked, WORKERS)
        closing = asyncio.get_running_loop().run_in_executor(None, predictor.close)
        await asyncio.sleep(0.1)
        slow.go.set()
        await closing
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(close())
    assert [type(result) for result in results] == [Prediction] * WORKERS + [
        UnavailableError
    ] * WORKERS


def test_cancelled_callers_see_their_cancellation(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=2 * WORKERS, deadline_s=30)

    async def stop() -> list[bool]:
        tasks = [asyncio.create_task(predictor.predict(photo)) for _ in range(2 * WORKERS)]
        await asyncio.to_thread(slow.wait_until_asked, WORKERS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return [task.cancelled() for task in tasks]

    assert asyncio.run(stop()) == [True] * 2 * WORKERS
    slow.go.set()
    predictor.close()


def test_abandoned_photo_is_not_kept_in_memory(slow: SlowCatalog) -> None:
    class Watched:
        """A stand-in for a large photo, which is never read since all workers are busy."""

    predictor = LocalPredictor(slow, queue_size=2 * WORKERS, deadline_s=1)
    photos: list[Any] = [Watched() for _ in range(2 * WORKERS)]
    waiting = [weakref.ref(photo) for photo in photos[WORKERS:]]

    async def wait() -> None:
        calls = [predictor.predict(photo) for photo in photos]
        await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(wait())
    photos.clear()
    gc.collect()
    assert [reference() for reference in waiting] == [None] * WORKERS
    slow.go.set()
    predictor.close()


def test_running_photo_keeps_its_place_until_it_ends(slow: SlowCatalog, photo: Path) -> None:
    predictor = LocalPredictor(slow, queue_size=1, deadline_s=1)
    with pytest.raises(DeadlineError, match="deadline of 1 s"):
        asyncio.run(predictor.predict(photo))
    with pytest.raises(BusyError):
        asyncio.run(predictor.predict(photo))
    slow.go.set()
    predictor.close()


def test_runs_do_not_pile_up_while_photos_are_batched() -> None:
    """One run for each photo would pile up, as long as photos keep arriving."""
    catalog = CountingCatalog()
    catalog.go.clear()
    predictor = LocalPredictor(catalog, queue_size=200, deadline_s=60)
    predictor._batches = batches = GatheringBatches(40)

    async def crowd() -> int:
        photos = [predictor.predict(drawings.ship(100, 80), model="classic") for _ in range(40)]
        tasks = [asyncio.create_task(each) for each in photos]
        await asyncio.to_thread(batches.wait_until_complete)
        waiting = predictor._runner._work_queue.qsize()
        catalog.go.set()
        await asyncio.gather(*tasks)
        return waiting

    assert asyncio.run(crowd()) <= 1
    predictor.close()


def test_photos_for_one_model_run_as_a_batch() -> None:
    catalog = CountingCatalog()
    predictor = LocalPredictor(catalog, queue_size=200, deadline_s=60)
    photos = [drawings.ship(100 + i, 80) for i in range(70)]

    answers = decoded_first(
        predictor,
        [
            predictor.predict(photo, model=["classic", "baseline"][i % 2], saliency=i == 4)
            for i, photo in enumerate(photos)
        ],
    )
    predictor.close()
    by_model = {
        name: [n for each, n in catalog.batches if each == name] for name in ("classic", "baseline")
    }
    assert sorted(by_model["classic"]) == [1, 2, 32], "one is to be explained"
    assert sorted(by_model["baseline"]) == [3, 32]
    for i, (photo, answer) in enumerate(zip(photos, answers, strict=True)):
        name = ["classic", "baseline"][i % 2]
        assert answer.model == name
        assert answer.scores == pytest.approx(catalog.load(name).predict(photo).scores, abs=1e-5)
        assert (answer.saliency is not None) == (i == 4)


def test_photos_with_saliency_run_alone_in_turn_with_batches() -> None:
    catalog = CountingCatalog()
    predictor = LocalPredictor(catalog, queue_size=200, deadline_s=60)
    photos = [drawings.ship(100 + i, 80) for i in range(70)]

    answers = decoded_first(
        predictor,
        [
            predictor.predict(photo, model="classic", saliency=i % 23 == 0)
            for i, photo in enumerate(photos)
        ],
    )
    predictor.close()
    assert [n for _, n in catalog.batches] == [1, 32, 1, 32, 1, 2, 1]
    assert [i for i, answer in enumerate(answers) if answer.saliency is not None] == [0, 23, 46, 69]


def test_inference_time_is_that_of_the_batch() -> None:
    catalog, observer = CountingCatalog(), RecordingObserver()
    predictor = LocalPredictor(catalog, queue_size=200, deadline_s=60, observer=observer)
    photos = [drawings.ship(100 + i, 80) for i in range(40)]
    asked = [predictor.predict(photo, model="classic") for photo in photos]
    decoded_first(predictor, asked)
    predictor.close()
    batches = Counter(infer for _, _, infer in observer.answers)
    (infer, together), *_ = batches.most_common()
    assert together == 32, "they were in the model together"
    for answer, _, each in observer.answers:
        if each == infer:
            assert 0 < answer.timing_ms.infer / 1000 * together <= infer


def test_promotion_drops_no_photo() -> None:
    catalog = CountingCatalog()
    predictor = LocalPredictor(catalog, queue_size=200, deadline_s=60)

    async def crowd() -> list[Prediction]:
        tasks = []
        for i in range(60):
            tasks.append(asyncio.create_task(predictor.predict(drawings.ship(90, 90))))
            if i % 20 == 10:
                await asyncio.sleep(0)
                catalog.swap("classic")
        return await asyncio.gather(*tasks)

    assert {answer.label for answer in asyncio.run(crowd())} == {
        catalog.load().predict(drawings.ship(90, 90)).label
    }
    predictor.close()


def test_observer_receives_predictions_and_errors(catalog: Catalog, photo: Path) -> None:
    observer = RecordingObserver()
    predictor = LocalPredictor(catalog, queue_size=4, deadline_s=30, observer=observer)
    answer = asyncio.run(predictor.predict(photo))
    with pytest.raises(ImageError):
        asyncio.run(predictor.predict(b"no photo"))
    predictor.close()
    ((heard, waited, infer),) = observer.answers
    assert heard is answer
    assert 0 <= waited < 30
    assert infer == pytest.approx(answer.timing_ms.infer / 1000, rel=0.5)
    assert [type(error) for error in observer.errors] == [ImageError]


def test_warm_loads_every_model(catalog: Catalog) -> None:
    fresh = Catalog(Settings(models=ROOT / "models"))
    predictor = LocalPredictor(fresh, queue_size=4, deadline_s=30)
    predictor.warm()
    assert set(fresh.loaded()) == {entry.name for entry in catalog.models()}
    predictor.close()


def test_failing_observer_does_not_fail_predictions(catalog: Catalog, photo: Path) -> None:
    class Broken:
        def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
            raise ZeroDivisionError

        def on_error(self, error: Exception) -> None:
            raise ZeroDivisionError

    predictor = LocalPredictor(catalog, queue_size=1, deadline_s=30, observer=Broken())
    for _ in range(3):
        assert asyncio.run(predictor.predict(photo)).label
        with pytest.raises(ImageError):
            asyncio.run(predictor.predict(b"no photo"))
    predictor.close()


def test_failing_model_fails_only_its_batch(photo: Path) -> None:
    predictor = LocalPredictor(FailingCatalog("classic"), queue_size=8, deadline_s=30)

    async def crowd() -> list[Prediction | BaseException]:
        asked = [predictor.predict(photo, model=m) for m in ("classic", "baseline", "classic")]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = asyncio.run(crowd())
    assert isinstance(first, BundleError)
    assert isinstance(third, BundleError)
    assert isinstance(second, Prediction)
    assert predictor.waiting == 0
    predictor.close()


def test_model_is_found_by_name(catalog: Catalog) -> None:
    predictor = LocalPredictor(catalog, queue_size=1, deadline_s=1)
    assert predictor.model("classic") in predictor.models()
    with pytest.raises(ModelNotFoundError, match=r"no model 'x'\. Available models: baseline, "):
        predictor.model("x")
    predictor.close()


def test_model_failures_are_reported_once_to_the_listener(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS / "classic", models / "classic")
    (models / "broken").mkdir()
    (models / "broken" / "config.json").write_text("{}")
    predictor = LocalPredictor(Catalog(Settings(models=models)), queue_size=1, deadline_s=1)
    failures: list[str] = []

    def fail(_: str) -> None:
        raise ZeroDivisionError

    with (
        predictor.reporting_model_failures(fail),
        predictor.reporting_model_failures(failures.append),
    ):
        for _ in range(2):
            assert [model.config.name for model in predictor.models()] == ["classic"]
    (failure,) = failures
    assert "broken is not listed" in failure
    (models / "classic" / "metrics.json").write_text("{}")
    predictor.models()
    assert failures == [failure], "it listens no longer"
    predictor.close()


def test_best_effort_photo_is_dropped_unless_a_worker_is_idle(
    slow: SlowCatalog, photo: Path
) -> None:
    observer = RecordingObserver()
    predictor = LocalPredictor(slow, queue_size=8, deadline_s=60, observer=observer)

    async def ask() -> Prediction:
        busy = [asyncio.create_task(predictor.predict(photo)) for _ in range(WORKERS)]
        await asyncio.to_thread(slow.wait_until_asked, WORKERS)
        with pytest.raises(BusyError):
            await predictor.predict(photo, best_effort=True)
        slow.go.set()
        await asyncio.gather(*busy)
        return await predictor.predict(photo, best_effort=True)

    assert asyncio.run(ask()).label == "ship"
    predictor.close()
    # A dropped photo is no failure to report.
    assert observer.errors == []
    assert len(observer.answers) == WORKERS + 1


def test_check_classifies_without_being_counted(catalog: Catalog, jpeg: bytes) -> None:
    counted: list[Prediction] = []

    class Counting(Rollouts):
        def on_answer(self, prediction: Prediction, photo: bytes | None) -> None:
            counted.append(prediction)

    telemetry = Telemetry()
    predictor = LocalPredictor(
        catalog,
        queue_size=4,
        deadline_s=PATIENCE_S,
        observer=telemetry,
        rollouts=lambda is_idle: Counting(catalog, lambda: None, is_idle=is_idle),
    )
    checked = asyncio.run(predictor.check(jpeg))
    with pytest.raises(ImageError):
        asyncio.run(predictor.check(b"no photo"))
    assert counted == []
    asked = asyncio.run(predictor.predict(jpeg))
    predictor.close()
    assert asked.scores == checked.scores
    assert len(counted) == 1
    text = telemetry.text().decode()
    labels = f'model="{asked.model}",verdict="{asked.verdict}"'
    assert f"tensight_photos_total{{{labels}}} 1.0" in text
    assert "tensight_errors_total{" not in text
