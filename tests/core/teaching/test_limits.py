"""Limits of the names, classes and photos of a taught model."""

from __future__ import annotations

import pytest

from core.errors import TeachingError
from core.teaching.limits import MAX_PHOTOS, check_classes, check_counts, check_model_name
from core.teaching.limits import class_name as checked_name


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
