from __future__ import annotations

import pytest

from core.redaction import without_credentials


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://user:s3cret@host:3128", "s3cret"),
        ("https://host/v1?key=s3cret", "s3cret"),
        ("the token 123456:ABCDEFGHIJKLMNOPQRSTUVWX is wrong", "ABCDEFGHIJKLMNOPQRSTUVWX"),
        ("hf_abcdefghijkl", "abcdefghijkl"),
    ],
)
def test_without_credentials_masks_secrets(text: str, secret: str) -> None:
    shown = without_credentials(text)
    assert secret not in shown
    assert "**********" in shown


def test_without_credentials_leaves_other_text_alone() -> None:
    text = "http://127.0.0.1:8000/v1/predict at 12:30"
    assert without_credentials(text) == text
