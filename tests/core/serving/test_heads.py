"""Taught models of a front whose photos are embedded by a service."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from core.errors import ModelNotFoundError
from core.registry.releases import Releases
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.teaching.service import Teaching
from tests.support.drawings import shape_jpeg
from tests.support.http_service import KEYS, PATIENCE_S
from tests.support.taught import drawn_shapes


def test_private_model_answers_in_the_front_alone(
    teaching: Teaching, remote: RemotePredictor, service: str, front: Settings
) -> None:
    model = teaching.create("chat:1", "Shapes", drawn_shapes())
    assert model.record is not None
    prediction = asyncio.run(remote.predict(shape_jpeg("square", 9), model=model.record.id))
    assert (prediction.label, prediction.revision) == ("square", model.bundle.revision)
    assert remote.model(model.record.id).config.title == "Shapes"
    assert [each.name for each in remote.models()] == ["classic"]
    previewed = asyncio.run(
        remote.predict_with_preview(
            shape_jpeg("circle", 9), model=model.record.id, side=64, saliency=True
        )
    )
    assert previewed.prediction.label == "circle"
    with (
        closing(RemotePredictor(service, key=KEYS[0], timeout_s=PATIENCE_S)) as other,
        pytest.raises(ModelNotFoundError),
    ):
        asyncio.run(other.predict(shape_jpeg("square", 9), model=model.record.id))
    teaching.forget("chat:1", model.record.id)
    with pytest.raises(ModelNotFoundError):
        asyncio.run(remote.predict(shape_jpeg("square", 9), model=model.record.id))


def test_promoted_model_is_listed_beside_the_remote_ones(
    teaching: Teaching, remote: RemotePredictor, front: Settings
) -> None:
    model = teaching.teach_named("shapes", drawn_shapes())
    with closing(Releases(front)) as releases:
        releases.promote("shapes", model.bundle.revision)
    assert [each.name for each in remote.models()] == ["classic", "shapes"]
    prediction = asyncio.run(remote.predict(shape_jpeg("circle", 9), model="shapes"))
    assert (prediction.model, prediction.label) == ("shapes", "circle")
