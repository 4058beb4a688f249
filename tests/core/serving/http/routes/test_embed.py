"""The route that embeds photos, and what the service says of the models it embeds for."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from core.errors import UnavailableError
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.remote import RemotePredictor
from core.serving.teaching import embedding_by
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.service import Teaching
from tests.support.drawings import shape_jpeg
from tests.support.http_service import KEYS, PATIENCE_S, serving
from tests.support.taught import drawn_shapes, learn_here


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
            model = teaching.create("chat:1", "Shapes", drawn_shapes())
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
