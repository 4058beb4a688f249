"""Fixtures of the tests of taught models whose base is served elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.heads import LocalHeads
from core.serving.remote import RemotePredictor
from core.serving.teaching import embedding_by
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.service import Teaching
from tests.support.http_service import KEYS, PATIENCE_S, serving


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TeachingBase:
    # Only these fixtures need scikit-learn, which tests of other predictors may lack.
    from tests.support.taught import teachable

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
    from tests.support.taught import learn_here

    with closing(PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)) as pool:
        embed = embedding_by(remote, base)
        yield Teaching(front, base, embed, pool, b"key", learner=learn_here)
