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
        ("http://user1:s3cret@host", "s3cret"),
        ("user1:s3cret@host", "s3cret"),
        ("http://user:12345@host", "12345"),
        ("http://user:1234s3cret@host", "s3cret"),
        ("http://user:1234;s3cret@host", "s3cret"),
        ("http://user:pa'ss,\"s3cret@host", "s3cret"),
        ("http://user:s3cret'@host and http://user:s3cret(@host", "s3cret"),
        ("http://user:1#s3cret@host", "s3cret"),
        ("user:9@s3cret@host", "s3cret"),
        ("http://user:s3cret@4x#y@host", "s3cret"),
        ("user:12345@host", "12345"),
        ("http://user:12345!@host and user:12345!@host", "12345"),
        ("user:@s3cret@host", "s3cret"),
        ("user:s3cret@10.0.0.1 and user:s3cret@1password.com", "s3cret"),
        ("user:s3cret@host/photo@2x.jpg", "s3cret"),
        ("postgresql://user:s3cret@1db/tensight", "s3cret"),
        ("http://user:s3cret@3com and http://user:p@s3cret@7", "s3cret"),
        ("TENSIGHT_X=user:s3/cret@host:80", "s3/cret"),
        ("redis://:s3cret@host", "s3cret"),
        ('{"url":"http://user:s3cret@host","path":"a"}', "s3cret"),
        ('{"url":"https://host/a?key=s3cret","path":"a"}', "s3cret"),
        ("hf_abcdefghijkl", "abcdefghijkl"),
        ("ghp_abcdefghijklmnopqrstuvwxyz", "abcdefghijkl"),
        ("sk-abcdefghijklmnopqrstuvwxyz", "abcdefghijkl"),
        ("sk-a-day-ghp_abcdefghijklmnopqrstuvwxyz-2.jpg", "abcdefghijkl"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.s3cret", "s3cret"),
        ("Bearer-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.s3cret", "s3cret"),
        ("https://host/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.s3cret.jpg", "s3cret"),
        (f"{'user' * 50}:s3cret@host", "s3cret"),
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
        "IMG_2024-01-01_10:20:30@2x.jpg: This is not a photo.",
        "photo:cat@2x.jpg",
        "10:20:30@2x and 16:9@60Hz",
        "http://host/16:9@60Hz and //server/16:9@60Hz",
        '{"path":"a@2x.jpg"}',
        '{"url":"http://127.0.0.1:7860","bot":"@TenSightBot"}',
        '{"url":"http://localhost","bot":"@TenSightBot"}',
        '{"url":"http://host/a?","path":"a@2x.jpg"}',
        "The page is on http://127.0.0.1:7860; bot @TenSightBot",
        "The page is on http://127.0.0.1:7860, the bot is @TenSightBot",
        "The page is on http://127.0.0.1:7860. Bot: @TenSightBot",
        "The page (http://127.0.0.1:7860) is of @TenSightBot",
        "http://127.0.0.1:7860,@TenSightBot or http://host:80: see @name",
        "127.0.0.1:7860,me@example.org and localhost:80;me@example.org",
        "Write http://host:port, or ask @TenSightBot",
        "Bots:@one,@two and bot:@TenSightBot",
        "Is it https://example.org/a? Or (https://example.org/a?)",
        "https://medium.com/@name/a and http://127.0.0.1:11434/@v1",
        "git+https://github.com/x/y@main",
        "name @ git+https://github.com/x/y@v1.2",
        "npm:react@18.2.0 and npm:react@18.2.0-rc.1, github:owner/name@main",
        "pkg:npm/%40scope/name@1.0",
        "python:3.12@sha256:0123abc, docker://python:3.12@sha256:0123abc",
        "hf_transfer and hf_transformers",
        "from hf_transformers_export",
        "/data/work:notes.txt:12:me@example.org",
        "mailto:me@example.org, from:me@example.org",
        "notes.txt:12:me@example.org",
        "/data/me@work/models and path:/data/me@work/models",
        r"C:\Users\me@work\cat.jpg and file:///C:/Users/me@work/cat.jpg",
        "sqlite:////data/me@work/tensight.db and /data//me@work/x",
        "PWD=/home/me",
        "20240101:a-holiday-at-the-beach-in-summer.jpg",
        "sk-a-holiday-at-the-beach-in-summer.jpg",
        "std::vector@0x7ffe",
        "http://127.0.0.1:8000/a:b@c and https://example.org/a:b/c@d.e",
        "models/transfer:0123abc@live",
        "http://192.168.10.25:7860,@TenSightBot, 192.168.10.25:80;me@example.org",
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
        ("http://127.0.0.1:11434/@v1", "http://127.0.0.1:11434/@v1"),
        ("git+https://github.com/x/y@main", "git+https://github.com/x/y@main"),
        ("http://user@host/@v1", "http://**********@v1"),
        ("http://user:#s3cret@host", "http://**********@host"),
        ("http://user:12#s3cret@host", "http://**********@host"),
        ("/data/me@work/models", "/data/me@work/models"),
        ("//s3cret@host", "**********@host"),
        ("./me@work/models", "./me@work/models"),
        (r"C:\me@work\models", r"C:\me@work\models"),
        ("owner/name@main", "owner/name@main"),
        ("cat@2x.jpg", "cat@2x.jpg"),
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
        ("http://127.0.0.1:11434/@v1", set()),
        ("postgresql://tensight:tensight@db/tensight", {"tensight:tensight"}),
        ("postgresql://me:tensight@db/tensight", {"me:tensight"}),
        ("postgresql://me:tensight@tensight:5432/x", {"me:tensight"}),
        ("postgresql://postgres:postgres@db/x", {"postgres:postgres"}),
        ("postgresql://user:password@db/x", {"user:password"}),
    ],
)
def test_credentials_of_a_url_are_found(url: str, found: set[str]) -> None:
    assert set(credentials(url)) == found


def test_secret_that_contains_another_one_is_masked_whole() -> None:
    assert without_secrets("of abcdef and abc", ["abc", "abcdef"]) == "of ********** and **********"


def test_secret_that_is_a_word_is_masked_as_a_word() -> None:
    text = 'Other houses are tenfold; "fold" and fold_2'
    assert without_secrets(text, ["fold"]) == text.replace('"fold" and fold', "*").replace(
        "*", '"**********" and **********'
    )
    assert without_secrets("botab3d/getMe", ["ab3d"]) == "bot**********/getMe"


@pytest.mark.parametrize(
    "piece",
    [
        *("//a:", "a", ":a", "//", "a@", "://", "://?", "1", "eyJ", "password", "//a: @ ", "sk-"),
        *("eyJ-", "@", "a:/@", " :@", "//a:b@", "user:pw@host ", "x:y", "x:@2x,"),
    ],
)
def test_long_hostile_text_is_masked(piece: str) -> None:
    assert len(without_credentials(piece * (100_000 // len(piece)))) <= 200_000
