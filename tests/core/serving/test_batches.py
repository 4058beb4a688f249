"""The order in which decoded photos run, without models."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from core.bundle.config import Base
from core.errors import DeadlineError
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.multi_view import MAX_BATCH
from core.serving.batches import Batches
from core.serving.jobs import DecodedJob, Job

FIRST, SECOND = (cast("Classifier", object()) for _ in range(2))
PHOTO = PreprocessedPhoto("photo.jpg", np.zeros((1, 1, 1, 3), np.uint8), 0.0)


def decoded(classifier: Classifier = FIRST, *, saliency: bool = False, **more: Any) -> DecodedJob:
    return DecodedJob(Job(None, None, saliency, **more), classifier, PHOTO, None)


def batches_of(*added: DecodedJob) -> Batches:
    batches = Batches()
    for each in added:
        batches.add(each)
    return batches


def test_batch_is_the_oldest_photo_and_others_for_its_model() -> None:
    photos = [decoded(each) for each in (SECOND, FIRST, SECOND, FIRST)]
    batches = batches_of(*photos)
    assert batches.take() == [photos[0], photos[2]]
    assert batches.take() == [photos[1], photos[3]]
    assert batches.take() == []


def test_embeddings_and_predictions_of_a_model_are_batches_of_their_own() -> None:
    prediction, embedding = decoded(), decoded(base=Base(name="baseline", sha256="0" * 64))
    batches = batches_of(prediction, embedding)
    assert [batches.take(), batches.take()] == [[prediction], [embedding]]


def test_size_of_a_batch_is_limited() -> None:
    batches = batches_of(*(decoded() for _ in range(MAX_BATCH + 1)))
    assert [len(batches.take()) for _ in range(3)] == [MAX_BATCH, 1, 0]


def test_photos_with_saliency_alternate_with_batches() -> None:
    explained = [decoded(saliency=True) for _ in range(2)]
    plain, late = decoded(), decoded()
    batches = batches_of(plain, *explained)
    assert [batches.take(), batches.take()] == [[explained[0]], [plain]]
    batches.add(late)
    assert [batches.take(), batches.take()] == [[explained[1]], [late]]


def test_clients_take_turns_with_photos_with_saliency() -> None:
    photos = [decoded(saliency=True, client=each) for each in ("a", "a", "b")]
    batches = batches_of(*photos)
    assert [batches.take()[0].job.client for _ in photos] == ["a", "b", "a"]


def test_abandoned_photo_fails_instead_of_running() -> None:
    abandoned, photo = decoded(), decoded()
    abandoned.job.abandoned = True
    batches = batches_of(abandoned, photo)
    assert batches.take() == [photo]
    with pytest.raises(DeadlineError):
        abandoned.job.future.result(timeout=0)


def test_one_runner_is_started_until_none_waits_or_it_fails() -> None:
    batches = Batches()
    assert [batches.add(decoded()), batches.add(decoded())] == [True, False]
    batches.take()
    assert not batches.add(decoded()), "the runner takes another batch before it ends"
    assert batches.take() != []
    assert batches.take() == []
    assert batches.add(decoded())
    batches.stop_running()
    assert batches.add(decoded())
