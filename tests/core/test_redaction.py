"""Masking of secrets in text, in values and in logs."""

from __future__ import annotations

import pytest

from core.redaction import credentials, masked_value, without_credentials, without_secrets


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://user:s3cret@host:3128", "s3cret"),
        ("'http://user:s3 cret@host' is wrong", "cret"),
        ("http://user:p@s3cret@host/x", "s3cret"),
        ("http://s3cret@host", "s3cret"),
        ("TENSIGHT_X=user:s3cret@host:80", "s3cret"),
        ("failed to resolve 'user:s3cret@host'", "s3cret"),
        ("https://host/v1?key=s3cret", "s3cret"),
        ("connection failed: host=x password=s3cret user=y", "s3cret"),
        ("sslpassword=s3cret", "s3cret"),
        ("the token 123456:ABCDEFGHIJKLMNOPQRSTUVWX is wrong", "ABCDEFGHIJKLMNOPQRSTUVWX"),
        ("/bot123456:ABCDEFGHIJKLMNOPQRSTUVWX/getMe", "ABCDEFGHIJKLMNOPQRSTUVWX"),
        ("hf_abcdefghijkl", "abcdefghijkl"),
        ("ghp_abcdefghijklmnopqrstuvwxyz", "abcdefghijkl"),
        ("sk-abcdefghijklmnopqrstuvwxyz", "abcdefghijkl"),
    ],
)
def test_without_credentials_masks_secrets(text: str, secret: str) -> None:
    shown = without_credentials(text)
    assert secret not in shown
    assert "**********" in shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1/predict at 12:30",
        "https://api.telegram.org:443/getMe, and then @TenSightBot answers at 12:30",
        "http://[::1]:80/ and @name",
        "Write it as http://user:password@host:port.",
        "hf_hub_download failed for owner/name@0123abc",
        "TENSIGHT_HUB_TOKEN is not set",
        "name@example.org",
    ],
)
def test_without_credentials_leaves_other_text_alone(text: str) -> None:
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("user:s3cret@host:8000", "**********@host:8000"),
        ("http://user:s3 cret@host", "http://**********@host"),
        ("http://user:s3/cr@et@host/a", "http://**********@host/a"),
        ("user:s3cret@proxy:badport", "**********@proxy:badport"),
        ("s3 cret@host", "**********@host"),
        ("postgresql://u:s3cret@h/x?password=s3cret", "postgresql://**********@h/x?**********"),
        ("host/x?password=s3cret", "host/x?**********"),
        ("hf_s3cretabcdefgh", "**********"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("owner/name", "owner/name"),
        ("@name", "@name"),
    ],
)
def test_credentials_in_a_value_are_masked(value: str, shown: str) -> None:
    assert masked_value(value) == shown


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://user:p%40ss@host", {"user:p%40ss", "user:p@ss", "p%40ss", "p@ss"}),
        ("user:se kret@host", {"user:se kret", "se kret"}),
        ("postgresql://h/x?password=s3cret&sslmode=require", {"s3cret"}),
        ("http://user@host", set()),
        ("http://host:8000/path", set()),
    ],
)
def test_credentials_of_a_url_are_found(url: str, found: set[str]) -> None:
    assert set(credentials(url)) == found


def test_secret_that_contains_another_one_is_masked_whole() -> None:
    assert without_secrets("of abcdef and abc", ["abc", "abcdef"]) == "of ********** and **********"


@pytest.mark.parametrize(
    "piece", ["//a:", "a", ":a", "//", "a@", "://", "://?", "1", "eyJ", "password", "//a: @ "]
)
def test_masking_takes_linear_time(piece: str) -> None:
    # With quadratic time, this would take minutes.
    without_credentials(piece * (100_000 // len(piece)))
