"""Taught models where the predictor is remote: it embeds, and the front applies the heads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import numpy as np
import pytest

from core.bundle.config import Base
from core.errors import ImageError, ModelNotFoundError, UnavailableError
from core.inference.embedding import Embedding
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.registry.releases import Releases
from core.serving.heads import LocalHeads
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.serving.teaching import connect_teaching, embedding_by
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.collect import LabelledPhoto
from core.teaching.service import Teaching, find_teaching_base
from tests.support.drawings import shape_jpeg
from tests.support.http_service import KEYS, MODELS, PATIENCE_S, serving
from tests.support.taught import learn_here, teachable


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TeachingBase:
    return teachable(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def models(base: TeachingBase) -> Path:
    return base.bundle.folder.parent


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a service without taught models, which requires a key."""
    settings = Settings(models=models, home=tmp_path_factory.mktemp("service"), api_keys=KEYS)
    with serving(settings, Catalog(settings)) as url:
        yield url


@pytest.fixture
def front(models: Path, tmp_path: Path) -> Settings:
    return Settings(models=models, home=tmp_path / "front", threads=1)


@pytest.fixture
def remote(service: str, front: Settings) -> Iterator[RemotePredictor]:
    heads = LocalHeads(Catalog(front))
    pool = PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)
    with closing(
        RemotePredictor(service, key=KEYS[0], timeout_s=PATIENCE_S, photos=pool, heads=heads)
    ) as predictor:
        yield predictor


@pytest.fixture
def teaching(front: Settings, base: TeachingBase, remote: RemotePredictor) -> Iterator[Teaching]:
    with closing(PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)) as pool:
        embed = embedding_by(remote, base)
        yield Teaching(front, base, embed, pool, b"key", learner=learn_here)


def drawn() -> list[LabelledPhoto]:
    return [
        LabelledPhoto(name, shape_jpeg(name, seed), f"{name} {seed}")
        for name in ("circle", "square")
        for seed in range(4)
    ]


def test_remote_embedding_equals_the_local_one(
    remote: RemotePredictor, base: TeachingBase, models: Path
) -> None:
    photo = shape_jpeg("circle", 1)
    with closing(
        LocalPredictor(Catalog(Settings(models=models)), queue_size=4, deadline_s=PATIENCE_S)
    ) as local:
        here = asyncio.run(local.embed(photo, base.reference, features=True))
    there = asyncio.run(remote.embed(photo, base.reference, features=True))
    np.testing.assert_allclose(there.vector, here.vector, atol=1e-5)
    assert (there.model, there.revision) == ("classic", base.bundle.revision)
    assert there.features is not None
    np.testing.assert_allclose(there.features.mean(axis=(0, 1)), there.vector, atol=1e-5)
    assert asyncio.run(remote.embed(photo, base.reference)).features is None


def test_features_of_the_served_base_average_to_the_embedding(catalog: Catalog) -> None:
    base = find_teaching_base(Settings(models=MODELS))
    with closing(LocalPredictor(catalog, queue_size=4, deadline_s=PATIENCE_S)) as local:
        found = asyncio.run(local.embed(shape_jpeg("circle", 1), base.reference, features=True))
    assert found.features is not None
    assert found.features.shape == (7, 7, 1280)
    np.testing.assert_allclose(found.features.mean(axis=(0, 1)), found.vector, atol=1e-3)
    again = Embedding.from_dict(found.to_dict())
    np.testing.assert_array_equal(again.features, found.features)


def test_front_teaches_on_the_served_base(url: str, tmp_path: Path) -> None:
    front = Settings(models=MODELS, home=tmp_path / "front", threads=1)
    heads = LocalHeads(Catalog(front))
    with closing(RemotePredictor(url, timeout_s=PATIENCE_S, heads=heads)) as predictor:
        with closing(connect_teaching(front, predictor)) as connected:
            model = connected.teaching.create("chat:1", "Shapes", drawn())
        assert model.record is not None
        assert model.bundle.config.base == find_teaching_base(front).reference
        photo = shape_jpeg("square", 9)
        prediction = asyncio.run(predictor.predict(photo, model=model.record.id, saliency=True))
    assert prediction.label == "square"
    assert prediction.saliency is not None
    spec = find_teaching_base(front).input
    assert prediction.saliency.shape == (spec.height, spec.width)


def test_private_model_answers_in_the_front_alone(
    teaching: Teaching, remote: RemotePredictor, service: str, front: Settings
) -> None:
    model = teaching.create("chat:1", "Shapes", drawn())
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
    model = teaching.teach_named("shapes", drawn())
    with closing(Releases(front)) as releases:
        releases.promote("shapes", model.bundle.revision)
    assert [each.name for each in remote.models()] == ["classic", "shapes"]
    prediction = asyncio.run(remote.predict(shape_jpeg("circle", 9), model="shapes"))
    assert (prediction.model, prediction.label) == ("shapes", "circle")


def test_private_model_is_neither_listed_nor_in_metrics(
    models: Path, tmp_path: Path, base: TeachingBase
) -> None:
    settings = Settings(models=models, home=tmp_path / "home", threads=1)
    with serving(settings, Catalog(settings)) as url:
        with (
            closing(RemotePredictor(url, timeout_s=PATIENCE_S)) as embedder,
            closing(PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)) as pool,
        ):
            embed = embedding_by(embedder, base)
            teaching = Teaching(settings, base, embed, pool, b"key", learner=learn_here)
            model = teaching.create("chat:1", "Shapes", drawn())
            assert model.record is not None
            name = model.record.id
            assert asyncio.run(embedder.predict(shape_jpeg("circle", 9), model=name)).model == name
        listed = httpx2.get(f"{url}/v1/models", timeout=PATIENCE_S).text
        metrics = httpx2.get(f"{url}/metrics", timeout=PATIENCE_S).text
        described = httpx2.get(f"{url}/v1/models/{name}", timeout=PATIENCE_S).json()
    assert name not in listed + metrics
    assert 'tensight_photos_total{model="taught"' in metrics
    assert described["config"]["base"] == base.reference.model_dump()


def test_embedding_needs_the_key(service: str, base: TeachingBase) -> None:
    with (
        closing(RemotePredictor(service, timeout_s=PATIENCE_S)) as stranger,
        pytest.raises(UnavailableError, match="API key missing or invalid"),
    ):
        asyncio.run(stranger.embed(shape_jpeg("circle", 1), base.reference))


def test_missing_base_of_the_service_is_named(remote: RemotePredictor) -> None:
    with pytest.raises(ModelNotFoundError, match="other with the SHA-256 000000000000 is not"):
        asyncio.run(remote.embed(shape_jpeg("circle", 1), Base(name="other", sha256="0" * 64)))


def test_unreadable_photo_is_reported(remote: RemotePredictor, base: TeachingBase) -> None:
    with pytest.raises(ImageError):
        asyncio.run(remote.embed(b"no photo", base.reference))


@pytest.mark.parametrize("query", ["", "model=classic", "model=../x&sha256=" + "0" * 64])
def test_malformed_request_is_refused(service: str, query: str) -> None:
    answer = httpx2.post(
        f"{service}/v1/embed?{query}",
        content=b"x",
        headers={"Authorization": f"Bearer {KEYS[0]}"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
