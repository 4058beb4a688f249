"""Classifiers that visitors of the page teach."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.requests import Request

from core import locale
from core.bundle.config import CONFIG
from core.errors import (
    BusyError,
    ModelNotFoundError,
    PhotoReadError,
    RateError,
    RequestError,
    TeachingError,
)
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.teaching.base import BASE_MODEL
from core.teaching.service import TaughtModel, Teaching
from demo.context import ClientRateLimiter, PageContext
from demo.tabs import compare
from demo.tabs.teach import build
from demo.tabs.teach_report import format_teaching_error, model_html, refusal_of, use_html
from demo.teaching import LIFETIME_S, MAX_MODELS, PageFullError, PageTeaching, page_teaching
from demo.teaching_photos import ClaimedPhotos, PhotosToTeach, TeachingDraft, UploadedPhoto
from tests.support.drawings import shape_jpeg, with_pixel
from tests.support.predictors import ControlledPredictor
from tests.support.taught import learn_here, teachable

VISITOR, OTHER = "a" * 32, "b" * 32
PATIENCE_S = 120
REQUEST: Any = Request({"type": "http", "headers": [], "client": ("192.0.2.1", 1)})


@pytest.fixture
def teaching(tmp_path: Path) -> Iterator[Teaching]:
    """Return teaching with a small base, in this process."""
    base = teachable(tmp_path / "models")
    classifier = Classifier(base.bundle, threads=1, backbone=Backbone.load(base.bundle, threads=1))

    def embed(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return classifier.embed([image[None] for image in images])

    pool = PhotoPool(PhotoLimits(), workers=1, inline_pixels=1_000_000)
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models", threads=1)
    yield Teaching(settings, base, embed, pool, b"key", learner=learn_here)
    pool.close()


def test_damaged_base_disables_teaching_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "models" / BASE_MODEL
    folder.mkdir(parents=True)
    (folder / CONFIG).write_bytes(b"{")
    settings, predictor = Settings(home=tmp_path, models=folder.parent), ControlledPredictor()
    with closing(predictor), page_teaching(settings, predictor) as teaching:
        assert teaching is None
    levels = [each.levelno for each in caplog.records if each.name == "demo.teaching"]
    assert levels == [logging.WARNING]


@pytest.fixture
def page(teaching: Teaching) -> Iterator[PageTeaching]:
    """Return teaching with room for two classifiers, one of which is taught at a time."""
    page = PageTeaching(teaching, max_models=2, max_unfinished=1, publishable=True)
    yield page
    page.close()


def ask(
    folder: Path, *classes: str, replaces: str = "", adds: bool = False, seeds: range = range(4)
) -> PhotosToTeach:
    """Upload drawn photos of each class, and ask to teach them."""
    folder.mkdir(exist_ok=True)
    photos = []
    for label in classes:
        for seed in seeds:
            file = folder / f"{label}-{seed}.jpg"
            file.write_bytes(shape_jpeg(label, seed))
            photos.append({"label": label, "path": str(file), "name": file.name})
    asked = {"title": "Shapes", "photos": photos, "replaces": replaces, "adds": adds}
    return PhotosToTeach.parse(json.dumps(asked))


def teach(page: PageTeaching, visitor: str, asked: PhotosToTeach, folder: Path) -> TaughtModel:
    return page.teach(visitor, asked, str(folder)).result(PATIENCE_S)


def draft(*classes: tuple[str, int], title: str = "Shapes") -> TeachingDraft:
    given = [{"name": name, "photos": photos} for name, photos in classes]
    return TeachingDraft.parse(json.dumps({"title": title, "classes": given}))


def test_visitor_owns_a_classifier_for_a_day(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    teach(page, VISITOR, ask(folder, "circle", "square"), folder)
    (record,) = page.models(VISITOR)
    assert record.expires is not None
    assert record.expires == pytest.approx(record.created + LIFETIME_S, abs=1)
    described = page.describe(record.id)
    for language in locale.LANGUAGES:
        rendered = model_html(described, language)
        assert "8" in rendered
        assert "CIFAR" not in rendered
        assert f"?model={record.id}" in use_html(record, described, language)
    assert page.download(VISITOR, record.id)[0] == "shapes"
    assert page.models(OTHER) == page.models("") == []
    assert page.find(OTHER, record.id) is None
    with pytest.raises(ModelNotFoundError):
        page.forget(OTHER, record.id)
    page.forget(VISITOR, record.id)
    assert page.models(VISITOR) == []


def test_offer_is_withdrawn_and_publication_is_shown(
    page: PageTeaching, teaching: Teaching, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name

    def shown() -> str:
        return use_html(page.models(VISITOR)[0], page.describe(model), "en")

    page.offer(VISITOR, model)
    assert "Offered to the operator." in shown()
    with pytest.raises(ModelNotFoundError):
        page.withdraw(OTHER, model)
    page.withdraw(VISITOR, model)
    assert "Offered" not in shown()
    assert teaching.offers() == []
    page.offer(VISITOR, model)
    teaching.mark_published(model, "shapes")
    assert "published a copy as shapes" in shown()
    assert teaching.offers() == []
    # It is still known once the owner has taught it more.
    more = ask(folder, "circle", replaces=model, adds=True, seeds=range(10, 14))
    teach(page, VISITOR, more, folder)
    assert "published a copy as shapes" in shown()
    page.forget(VISITOR, model)
    teaching.mark_published(model, "shapes")
    assert page.models(VISITOR) == []


def test_classifier_that_is_taught_again_keeps_its_link(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name
    teach(page, VISITOR, ask(folder, "circle", "bars", replaces=model), folder)
    assert [each.id for each in page.models(VISITOR)] == [model]
    assert page.describe(model).config.labels == ("bars", "circle")
    more = ask(folder, "square", replaces=model, adds=True, seeds=range(10, 14))
    teach(page, VISITOR, more, folder)
    assert page.describe(model).config.labels == ("bars", "circle", "square")
    with pytest.raises(ModelNotFoundError):
        teach(page, OTHER, ask(folder, "circle", replaces=model, adds=True), folder)
    # A stranger's classifier cannot be replaced: the result is a new one.
    stranger = ask(folder, "circle", "square", replaces=model)
    assert teach(page, OTHER, stranger, folder).bundle.config.name != model


def test_correction_reports_the_improvement(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name
    before = page.describe(model).metrics.taught
    assert before is not None
    ((photo,), steps) = (ask(folder, "square", seeds=range(20, 21)).photos, list[int]())
    done = page.correct(VISITOR, model, photo, str(folder), lambda n, _: steps.append(n))
    correction = done.result(PATIENCE_S)
    assert (correction.before, correction.after.n) == (before.accuracy, 9)
    assert correction.model.report.photos == (4, 5)
    assert steps == [1]
    for language in locale.LANGUAGES:
        told = locale.page_texts(language)["teach_corrected"].format(**correction.texts(language))
        assert "Shapes" in told
        assert ("±0.0" if language == "en" else "±0,0") in told
    # The same photo counts once, in the class that was named last.
    moved = UploadedPhoto(label="circle", path=photo.path)
    again = page.correct(VISITOR, model, moved, str(folder)).result(PATIENCE_S)
    assert again.model.report.photos == (5, 4)


def test_correction_is_refused_without_changing_anything(
    page: PageTeaching, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name
    before = page.models(VISITOR)
    (photo,) = ask(folder, "square", seeds=range(20, 21)).photos
    with pytest.raises(ModelNotFoundError):
        page.correct(OTHER, model, photo, str(folder)).result(PATIENCE_S)
    unknown = UploadedPhoto(label="bars", path=photo.path)
    with pytest.raises(TeachingError, match="at least 3"):
        page.correct(VISITOR, model, unknown, str(folder)).result(PATIENCE_S)
    Path(photo.path).unlink()  # as the sweep of the uploads does
    with pytest.raises(PhotoReadError):
        page.correct(VISITOR, model, photo, str(folder)).result(PATIENCE_S)
    assert page.models(VISITOR) == before
    assert page.describe(model).config.labels == ("circle", "square")


def test_refused_photos_leave_the_classifier_as_it_was(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name
    before = page.models(VISITOR)
    few = ask(folder, "circle", "bars", replaces=model, seeds=range(2))
    with pytest.raises(TeachingError, match="at least 3"):
        teach(page, VISITOR, few, folder)
    assert page.models(VISITOR) == before
    assert page.describe(model).config.labels == ("circle", "square")


def test_indistinguishable_photos_are_refused(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    alike, copied = (ask(folder, "circle", "square", seeds=range(3)) for _ in range(2))
    for i, photo in enumerate(alike.photos[3:]):
        Path(photo.path).write_bytes(with_pixel(shape_jpeg("square", 0), 60 * i))
    with pytest.raises(TeachingError) as refused:
        teach(page, VISITOR, alike, folder)
    assert (refused.value.reason, refused.value.names) == ("alike", ("square",))
    for i, photo in enumerate(copied.photos[3:]):
        Path(photo.path).write_bytes(with_pixel(shape_jpeg("circle", i), 116))
    with pytest.raises(TeachingError) as refused:
        teach(page, VISITOR, copied, folder)
    assert (refused.value.reason, refused.value.names) == ("copy", ("circle", "square"))
    for i, photo in enumerate(copied.photos[3:]):
        Path(photo.path).write_bytes(shape_jpeg("circle", i))
    with pytest.raises(TeachingError) as refused:
        teach(page, VISITOR, copied, folder)
    assert refused.value.reason == "two_classes"
    told = "The photo square-0.jpg is in two classes: “circle”, “square”."
    assert told in format_teaching_error(refused.value, "en")
    assert page.models(VISITOR) == []


def test_page_holds_a_bounded_number_of_classifiers(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    for visitor in (VISITOR, OTHER):
        teach(page, visitor, ask(folder, "circle", "square"), folder)
    with pytest.raises(PageFullError):
        teach(page, OTHER, ask(folder, "circle", "square"), folder)
    with pytest.raises(PageFullError):
        page.check(OTHER, draft(("circle", 4), ("square", 4)))


def test_classifiers_that_are_being_taught_take_room(teaching: Teaching, tmp_path: Path) -> None:
    folder, begun, go_on = tmp_path / "uploads", threading.Event(), threading.Event()

    def hold(_done: int, _total: int) -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    with closing(PageTeaching(teaching, max_models=MAX_MODELS + 1)) as page:
        for _ in range(MAX_MODELS - 1):
            teach(page, VISITOR, ask(folder, "circle", "square"), folder)
        last = page.teach(VISITOR, ask(folder, "circle", "square"), str(folder), hold)
        assert begun.wait(PATIENCE_S)
        with pytest.raises(TeachingError) as refused:
            teach(page, VISITOR, ask(folder, "circle", "bars"), folder)
        assert refused.value.reason == "many_models"
        teach(page, OTHER, ask(folder, "circle", "square"), folder)
        with pytest.raises(PageFullError):
            teach(page, OTHER, ask(folder, "circle", "square"), folder)
        go_on.set()
        last.result(PATIENCE_S)
        assert len(page.models(VISITOR)) == MAX_MODELS


def test_failed_attempt_gives_back_its_room(page: PageTeaching, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    for _ in range(3):
        with pytest.raises(TeachingError, match="at least 3"):
            teach(page, VISITOR, ask(folder, "circle", "square", seeds=range(2)), folder)
    teach(page, VISITOR, ask(folder, "circle", "square"), folder)


def test_teaching_is_refused_while_too_many_wait(page: PageTeaching, tmp_path: Path) -> None:
    folder, begun, go_on = tmp_path / "uploads", threading.Event(), threading.Event()

    def hold(done: int, _total: int) -> None:
        if done == 1:
            begun.set()
            go_on.wait(PATIENCE_S)

    first = page.teach(VISITOR, ask(folder, "circle", "square"), str(folder), hold)
    assert begun.wait(PATIENCE_S)
    # The sweep may delete the uploads in the meantime.
    asked = ask(folder, "circle", "bars")
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(BusyError):
        page.teach(OTHER, asked, str(folder))
    go_on.set()
    assert first.result(PATIENCE_S).report.photos == (4, 4)
    assert list(tmp_path.glob("tensight-taught-*")) == []


def test_photo_outside_the_upload_folder_is_not_read(page: PageTeaching, tmp_path: Path) -> None:
    asked, folder = ask(tmp_path / "elsewhere", "circle", "square"), tmp_path / "uploads"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(asked.photos[0].path)
    asked.photos[0].path = str(folder / "link.jpg")
    claimed = ClaimedPhotos(asked.photos, str(folder))
    assert not any(Path(str(each.photo)).exists() for each in claimed.photos)
    claimed.close()
    with pytest.raises(TeachingError) as refused:
        teach(page, VISITOR, asked, folder)
    assert refused.value.reason == "few_photos"
    assert "“circle”, “square”" in format_teaching_error(refused.value, "en")
    assert "„circle“, „square“" in format_teaching_error(refused.value, "de")


@pytest.mark.parametrize(
    ("asked", "reason", "names"),
    [
        (draft(("circle", 3)), "few_classes", ()),
        (draft(("circle", 3), ("square", 2)), "few_photos", ("square",)),
        (draft(("circle", 201), ("square", 3)), "many_photos", ("circle",)),
        (draft(("circle", 3), ("", 3)), "bad_class", ("",)),
        (draft(("circle", 3), ("None", 3)), "bad_class", ("None",)),
        (draft(("circle", 3), ("x" * 65, 3)), "bad_class", ("x" * 63 + "…",)),
        (draft(("circle", 3), ("a\u202eb", 3)), "bad_class", ("a\\u202eb",)),
        (draft(("circle", 3), ("Circle ", 3)), "same_class", ("circle", "Circle")),
        (draft(*((f"{i}", 3) for i in range(51))), "many_classes", ()),
        (draft(*((f"{i}", 200) for i in range(13))), "many_in_all", ()),
        (draft(("circle", 3), ("square", 3), title=" "), "bad_model", ("",)),
        (draft(("circle", 3), ("square", 3), title="none"), "bad_model", ("none",)),
        (draft(("circle", 3), ("square", 3), title="Classic cnn"), "taken_model", ("Classic cnn",)),
    ],
)
def test_draft_is_refused_before_photos_are_uploaded(
    page: PageTeaching, asked: TeachingDraft, reason: str, names: tuple[str, ...]
) -> None:
    with pytest.raises(TeachingError) as refused:
        page.check(VISITOR, asked)
    assert (refused.value.reason, refused.value.names) == (reason, names)
    assert f'data-reason="{reason}"' in refusal_of(refused.value, "en")
    page.check(VISITOR, draft(("circle", 3), ("square", 3)))


def test_compare_asks_the_classifiers_of_the_visitor(
    teaching: Teaching, page: PageTeaching, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    teach(page, VISITOR, ask(folder, "circle", "square"), folder)
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models", threads=1)
    limiter = ClientRateLimiter(10)
    with closing(LocalPredictor(Catalog(settings), queue_size=8, deadline_s=60)) as predictor:
        context = PageContext(
            predictor, None, limiter, limiter, asyncio.Semaphore(1), (), None, b"key"
        )
        with gr.Blocks() as blocks, gr.Tab() as tab:
            compare.build(context, tab, page)
        (handler,) = (each.fn for each in blocks.fns.values() if each.name == "compare")
        photo = str(folder / "circle-0.jpg")
        for visitor, is_own in ((VISITOR, True), (OTHER, False), ("", False)):
            _, cards = asyncio.run(handler(photo, visitor, REQUEST))
            assert "<h3>Classic CNN</h3>" in cards
            assert ("<h3>Shapes</h3>" in cards) == is_own


@pytest.mark.parametrize("publishable", [True, False])
def test_offer_is_shown_where_an_operator_can_publish(
    teaching: Teaching, tmp_path: Path, publishable: bool
) -> None:
    folder, limiter = tmp_path / "uploads", ClientRateLimiter(10)
    context = PageContext(
        ControlledPredictor(), None, limiter, limiter, asyncio.Semaphore(1), (), None, b"key"
    )
    with closing(PageTeaching(teaching, publishable=publishable)) as page:
        model = teach(page, VISITOR, ask(folder, "circle", "square"), folder).bundle.config.name
        with gr.Blocks() as blocks, gr.Tab() as tab:
            parts = build(context, page, tab, live=False)
        assert not parts.offer.visible
        describe = next(each.fn for each in blocks.fns.values() if each.name == "describe")

        def shown() -> tuple[bool, bool]:
            *_, offer, withdraw = describe(VISITOR, model, None, REQUEST)
            return offer["visible"], withdraw["visible"]

        assert shown() == (publishable, False)
        if publishable:
            page.offer(VISITOR, model)
        else:
            with pytest.raises(RequestError, match="no operators"):
                page.offer(VISITOR, model)
        assert shown() == (False, publishable)


async def last_answer(events: AsyncIterator[dict[Any, Any]]) -> list[str]:
    """Return the values of the last answer of a handler."""
    *_, last = [answer async for answer in events]
    return [str(value) for value in last.values()]


def test_photos_to_teach_count_apart_from_other_photos(
    teaching: Teaching, page: PageTeaching, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    predictor = ControlledPredictor()
    photos, photos_to_teach = ClientRateLimiter(1), ClientRateLimiter(8, window_s=3600)
    context = PageContext(predictor, None, photos, photos, asyncio.Semaphore(1), (), None, b"key")
    with gr.Blocks() as blocks:
        blocks.GRADIO_CACHE = str(folder)
        with gr.Tab() as tab:
            build(context, page, tab, photos_to_teach, live=False)
    handlers = {each.name: each.fn for each in blocks.fns.values()}
    few = ask(folder, "circle", seeds=range(4))

    def teach_few() -> list[str]:
        asked = few.model_dump_json()
        return asyncio.run(last_answer(handlers["teach"](VISITOR, asked, "checked", REQUEST)))

    for _ in range(2):
        assert any('data-reason="few_classes"' in value for value in teach_few())
    # The photos of refused attempts count, and the page says so.
    told = locale.page_texts("en")["teach_rate"].format(minutes=60)
    assert any(told in value for value in teach_few())
    photos.check_rate(REQUEST)
    with pytest.raises(RateError):
        photos.check_rate(REQUEST)
    predictor.close()


@pytest.mark.parametrize("visitor", ["", "A" * 32, "a" * 31, "../" + "a" * 29])
def test_invalid_key_of_a_visitor_is_refused(
    page: PageTeaching, tmp_path: Path, visitor: str
) -> None:
    with pytest.raises(RequestError):
        page.teach(visitor, ask(tmp_path / "uploads", "circle"), str(tmp_path))
    with pytest.raises(RequestError):
        page.check(visitor, draft(("circle", 3), ("square", 3)))
    with pytest.raises(RequestError):
        PhotosToTeach.parse("[]")
