"""Classifiers that visitors of the page teach."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core import locale
from core.errors import ModelNotFoundError, RequestError, TeachingError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.settings import Settings
from core.teaching.service import Teaching
from demo.tabs.teach_report import format_teaching_error, model_html
from demo.teaching import LIFETIME_S, PageFullError, PageTeaching, PhotosToTeach
from tests.support.drawings import shape_jpeg
from tests.support.taught import learn_here, teachable

VISITOR, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def page(tmp_path: Path) -> Iterator[PageTeaching]:
    """Return teaching with room for two classifiers."""
    base = teachable(tmp_path / "models")
    classifier = Classifier(base.bundle, threads=1, backbone=Backbone.load(base.bundle, threads=1))

    def embed(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return classifier.embed([image[None] for image in images])

    pool = PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models", threads=1)
    teaching = Teaching(settings, base, embed, pool, b"key", learner=learn_here)
    yield PageTeaching(teaching, max_models=2)
    pool.close()


def ask(folder: Path, *classes: str, replaces: str = "") -> PhotosToTeach:
    """Upload four drawn photos of each class, and ask to teach them."""
    folder.mkdir(exist_ok=True)
    photos = []
    for label in classes:
        for seed in range(4):
            file = folder / f"{label}-{seed}.jpg"
            file.write_bytes(shape_jpeg(label, seed))
            photos.append({"label": label, "path": str(file), "name": file.name})
    asked = {"title": "Shapes", "photos": photos, "replaces": replaces}
    return PhotosToTeach.parse(json.dumps(asked))


def test_visitor_owns_a_classifier_for_a_day(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    taught = page.teach(VISITOR, ask(folder, "circle", "square"), str(folder))
    (record,) = page.models(VISITOR)
    assert record.expires == record.created + LIFETIME_S
    assert "of 8 photos" in model_html(page.describe(record.id), "en")
    assert page.download(VISITOR, record.id)[0] == "shapes"
    assert page.models(OTHER) == page.models("") == []
    with pytest.raises(ModelNotFoundError):
        page.forget(OTHER, record.id)
    again = ask(folder, "circle", "bars", replaces=taught.bundle.config.name)
    page.teach(VISITOR, again, str(folder))
    (replaced,) = page.models(VISITOR)
    assert page.describe(replaced.id).config.labels == ("bars", "circle")
    page.teach(OTHER, ask(folder, "circle", "square"), str(folder))
    with pytest.raises(PageFullError):
        page.teach(OTHER, ask(folder, "circle", "square"), str(folder))


def test_photo_outside_the_upload_folder_is_not_read(page: PageTeaching, tmp_path: Path) -> None:
    asked = ask(tmp_path / "elsewhere", "circle", "square")
    with pytest.raises(TeachingError) as refused:
        page.teach(VISITOR, asked, str(tmp_path / "uploads"))
    assert refused.value.reason == "few_photos"
    for language in locale.LANGUAGES:
        assert "“circle”, “square”" in format_teaching_error(refused.value, language)


@pytest.mark.parametrize("visitor", ["", "A" * 32, "a" * 31, "../" + "a" * 29])
def test_invalid_key_of_a_visitor_is_refused(
    page: PageTeaching, tmp_path: Path, visitor: str
) -> None:
    with pytest.raises(RequestError):
        page.teach(visitor, ask(tmp_path / "uploads", "circle"), str(tmp_path))
    with pytest.raises(RequestError):
        PhotosToTeach.parse("[]")
