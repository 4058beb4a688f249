"""Refusals of teaching: a clear error, and no change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from core.errors import TeachingError
from core.photos.pool import PhotoPool
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.collect import Embed, LabelledPhoto, collect
from core.teaching.service import Teaching
from tests.core.teaching.conftest import KEY, drawn
from tests.support.drawings import shape_jpeg, with_pixel


def refused(teaching: Teaching, photos: list[LabelledPhoto], name: str = "shapes") -> TeachingError:
    with pytest.raises(TeachingError) as told:
        teaching.teach_named(name, photos)
    return told.value


@pytest.fixture(autouse=True)
def _nothing_is_installed(settings: Settings) -> object:
    yield
    assert not (settings.home / "revisions").exists()
    assert not (settings.home / "taught").exists()


def test_one_class_is_refused(teaching: Teaching) -> None:
    error = refused(teaching, drawn("circle"))
    assert (error.reason, "at least 2 classes" in str(error)) == ("few_classes", True)


def test_too_few_photos_are_refused(teaching: Teaching) -> None:
    photos = [*drawn("circle"), *drawn("square", each=2)]
    error = refused(teaching, photos)
    assert (error.reason, error.names) == ("few_photos", ("square",))
    assert "'square' has 2" in str(error)


def test_duplicate_photo_counts_once(teaching: Teaching) -> None:
    twice = drawn("square", each=2)
    photos = [*drawn("circle"), *twice, replace(twice[0], name="again")]
    assert "'square' has 2" in str(refused(teaching, photos))


def test_copies_in_other_files_count_once(teaching: Teaching) -> None:
    same = [LabelledPhoto("bars", shape_jpeg("bars", 5) + bytes(n), f"bars {n}") for n in range(4)]
    error = refused(teaching, [*drawn("circle"), *same])
    assert error.reason == "few_photos", "they are one photo"


def test_photo_in_two_classes_is_refused(teaching: Teaching) -> None:
    photos = drawn("circle", "square")
    error = refused(teaching, [*photos, replace(photos[0], label="square", name="there too")])
    assert error.reason == "two_classes"
    assert "there too" in str(error)


def test_name_of_a_bundled_model_is_refused(teaching: Teaching) -> None:
    error = refused(teaching, drawn("circle", "square"), name="classic")
    assert (error.reason, error.names) == ("taken_model", ("classic",))


@pytest.mark.parametrize("title", ["Classic CNN", "classic", "\uff23LASSIC"])
def test_title_of_a_bundled_model_is_refused(teaching: Teaching, title: str) -> None:
    photos = drawn("circle", "square")
    for teach in (
        partial(teaching.create, "chat:1", title),
        partial(teaching.teach_named, "shapes", title=title),
    ):
        with pytest.raises(TeachingError, match="comes with TenSight") as told:
            teach(photos=photos)
        assert (told.value.reason, told.value.names) == ("taken_model", (title,))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "bad_class"),
        ("\uff2eone", "bad_class"),
        ("squ\u202eare", "bad_class"),
        ("squ\x07are", "bad_class"),
        ("s" * 65, "bad_class"),
        ("CIRCLE", "same_class"),
        ("\uff43ircle", "same_class"),
    ],
)
def test_invalid_names_of_classes_are_refused(teaching: Teaching, name: str, reason: str) -> None:
    photos = [replace(each, label=name) for each in drawn("square")]
    error = refused(teaching, [*drawn("circle"), *photos])
    assert error.reason == reason
    assert str(error).isprintable()


def test_too_many_classes_are_refused(teaching: Teaching) -> None:
    (photo,) = drawn("circle", each=1)
    error = refused(teaching, [replace(photo, label=f"class {i}") for i in range(51)])
    assert (error.reason, "at most 50" in str(error)) == ("many_classes", True)


def test_too_many_photos_of_a_class_are_refused(teaching: Teaching) -> None:
    error = refused(teaching, [*drawn("circle"), *drawn("square", each=201)])
    assert (error.reason, error.names) == ("many_photos", ("square",))


def test_class_whose_photos_are_all_alike_is_refused(teaching: Teaching) -> None:
    alike = [with_pixel(shape_jpeg("square", 0), level) for level in (60, 120, 180)]
    photos = [LabelledPhoto("square", each, f"square {i}") for i, each in enumerate(alike)]
    error = refused(teaching, [*drawn("circle"), *photos])
    assert (error.reason, error.names) == ("alike", ("square",))


def test_class_that_copies_another_is_refused(teaching: Teaching) -> None:
    copies = [
        LabelledPhoto("ring", with_pixel(shape_jpeg("circle", i), 116), f"ring {i}")
        for i in range(4)
    ]
    error = refused(teaching, [*drawn("circle"), *copies])
    assert (error.reason, error.names) == ("copy", ("circle", "ring"))


def test_unreadable_photos_are_skipped_and_named(
    base: TeachingBase, embed: Embed, pool: PhotoPool
) -> None:
    photos = [*drawn("circle", "square"), LabelledPhoto("square", b"no photo", "notes\x07.txt")]
    collected = collect(photos, base, embed, pool, KEY)
    assert collected.examples.counts() == {"circle": 4, "square": 4}
    (skipped,) = collected.skipped
    assert skipped.name.startswith("notes")
    assert (skipped.name + skipped.reason).isprintable()


def test_unreadable_photos_alone_are_refused(teaching: Teaching) -> None:
    photos = [LabelledPhoto(label, b"no photo", f"{label} {i}") for label in "ab" for i in range(3)]
    error = refused(teaching, photos)
    assert error.reason in {"few_photos", "no_photos"}
