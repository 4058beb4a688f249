"""Refusals of teaching: a clear error, and no change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import TeachingError
from core.settings import Settings
from core.teaching.collect import LabelledPhoto
from core.teaching.folder import read_folder
from core.teaching.limits import MAX_PHOTOS, check_classes, check_counts, check_model_name
from core.teaching.limits import class_name as checked_name
from core.teaching.service import Teaching
from tests.core.teaching.conftest import drawn
from tests.support.drawings import shape_jpeg


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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none", "none of the classes"),
        ("NONE ", "none of the classes"),
        ("\uff4e\uff4f\uff4e\uff45", "none of the classes"),
        ("", "1 to 64 characters"),
        ("   ", "1 to 64 characters"),
        ("x" * 65, "1 to 64 characters"),
        ("a\x1b[2Jb", "cannot be seen"),
        ("a\u202eb", "cannot be seen"),
        ("two\nlines", "cannot be seen"),
    ],
)
def test_invalid_class_name_is_refused(name: str, why: str) -> None:
    with pytest.raises(TeachingError, match=why) as told:
        checked_name(name)
    assert told.value.reason == "bad_class"
    assert str(told.value).isprintable()


@pytest.mark.parametrize("name", ["Katze", "猫", "кошка", "قطة", "बिल्ली", "cat & dog", "x" * 64])
def test_class_name_may_be_in_any_language(name: str) -> None:
    assert checked_name(f" {name} ") == name


@pytest.mark.parametrize(
    ("first", "second"),
    [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("A", "\uff21")],
)
def test_names_that_read_the_same_are_refused(first: str, second: str) -> None:
    with pytest.raises(TeachingError, match="read the same") as told:
        check_classes([checked_name(first), "other", second])
    assert told.value.reason == "same_class"


def test_too_many_classes_are_refused() -> None:
    check_classes([f"class {i}" for i in range(50)])
    with pytest.raises(TeachingError, match="at most 50"):
        check_classes([f"class {i}" for i in range(51)])


def test_too_many_photos_are_refused() -> None:
    check_counts({"a": MAX_PHOTOS, "b": 3})
    with pytest.raises(TeachingError, match="at most 200"):
        check_counts({"a": MAX_PHOTOS + 1, "b": 3})
    with pytest.raises(TeachingError, match="at most 2,500"):
        check_counts({f"class {i}": MAX_PHOTOS for i in range(13)})


@pytest.mark.parametrize("name", ["", "Shapes", "my shapes", "none", "taught-x", "../x", "x" * 64])
def test_invalid_model_name_is_refused(name: str) -> None:
    with pytest.raises(TeachingError) as told:
        check_model_name(name, set())
    assert told.value.reason == "bad_model"


def test_name_of_a_bundled_model_is_refused(teaching: Teaching) -> None:
    error = refused(teaching, drawn("circle", "square"), name="classic")
    assert (error.reason, error.names) == ("taken_model", ("classic",))


def test_unreadable_photos_alone_are_refused(teaching: Teaching) -> None:
    photos = [LabelledPhoto(label, b"no photo", f"{label} {i}") for label in "ab" for i in range(3)]
    error = refused(teaching, photos)
    assert error.reason in {"few_photos", "no_photos"}


@pytest.mark.parametrize("content", ["", "nothing,here\nx,y\n", "file,label\n"])
def test_invalid_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(TeachingError, match=r"labels\.csv"):
        read_folder(tmp_path)


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match="has no folders with photos"):
        read_folder(tmp_path)
    with pytest.raises(TeachingError, match="cannot be read"):
        read_folder(tmp_path / "missing")
