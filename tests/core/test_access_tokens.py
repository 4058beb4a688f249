from __future__ import annotations

import pytest

from core.access_tokens import find_access_tokens

TELEGRAM = "123456:ABCDEFGHIJKLMNOPQRSTUVWX"
GITHUB = "ghp_abcdefghijklmnopqrstuvwxyz"


def tokens(text: str) -> list[str]:
    return [text[start:end] for start, end in find_access_tokens(text)]


def test_tokens_are_found_from_left_to_right() -> None:
    assert tokens(f"{TELEGRAM} and hf_abcdefghijkl, {GITHUB}") == [
        TELEGRAM,
        "hf_abcdefghijkl",
        GITHUB,
    ]


@pytest.mark.parametrize("text", ["hf_transformers", "sk-a-day-at-the-beach-2026.jpg", "12:30:45"])
def test_names_and_times_are_no_tokens(text: str) -> None:
    assert tokens(text) == []


def test_token_within_the_name_of_a_photo_is_found() -> None:
    assert tokens(f"sk-a-day-{GITHUB}-2.jpg")[-1].startswith(GITHUB)
