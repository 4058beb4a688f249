from __future__ import annotations

import pytest

from core.user_info import find_user_info


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in find_user_info(text)]


@pytest.mark.parametrize(
    ("text", "user_info"),
    [
        ("http://user:s3cret@host and user:p@ss@host", ["user:s3cret", "user:p@ss"]),
        ("http://token@host", ["token"]),
        ("redis://:s3cret@host", [":s3cret"]),
        ("'http://user:s3 cret@host'", ["user:s3 cret"]),
    ],
)
def test_user_and_password_are_found(text: str, user_info: list[str]) -> None:
    assert found(text) == user_info


@pytest.mark.parametrize(
    "text",
    [
        "http://host:80, @name",
        "mailto:me@example.org",
        "16:9@60Hz",
        "photo:cat@2x.jpg",
        "10:20:30@name",
        "bots:@one,@two",
        "postgresql://user:password@host",
    ],
)
def test_other_colons_and_at_signs_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_password_is_not_looked_for_beyond_its_maximum_length() -> None:
    assert found(f"http://user:{'x' * 300}@host") == [f"user:{'x' * 300}"]
    assert found(f"http://user:{'x' * 301}@host") == []
