"""Teaching with drawn pictures, on a small base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.collect import Embed, LabelledPhoto
from core.teaching.service import Teaching
from tests.support.drawings import shape_jpeg
from tests.support.taught import learn_here, teachable

KEY = b"key of the hashes"


def drawn(
    *classes: str, each: int = 4, sender: str | None = None, first: int = 0
) -> list[LabelledPhoto]:
    """Return drawn photos of some of the classes circle, square and bars."""
    return [
        LabelledPhoto(name, shape_jpeg(name, seed), f"{name} {seed}", sender)
        for name in classes
        for seed in range(first, first + each)
    ]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> TeachingBase:
    return teachable(tmp_path_factory.mktemp("teachable"))


@pytest.fixture(scope="session")
def embed(base: TeachingBase) -> Embed:
    classifier = Classifier(base.bundle, threads=1, backbone=Backbone.load(base.bundle, threads=1))

    def embed(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return classifier.embed([image[None] for image in images])

    return embed


@pytest.fixture(scope="session")
def pool() -> Iterator[PhotoPool]:
    # Drawn photos are small, so they are decoded in this process.
    pool = PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)
    yield pool
    pool.close()


@pytest.fixture
def settings(base: TeachingBase, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", models=base.bundle.folder.parent, threads=1)


@pytest.fixture
def teaching(settings: Settings, base: TeachingBase, embed: Embed, pool: PhotoPool) -> Teaching:
    return Teaching(settings, base, embed, pool, KEY, learner=learn_here)
