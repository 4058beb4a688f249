"""Hosts whose name the page repeats."""

from __future__ import annotations

from typing import Any

import pytest

from demo.hosts import TrustedHosts


@pytest.mark.parametrize(
    ("listens_on", "options", "host", "origin"),
    [
        ("127.0.0.1", {}, "localhost:7860", "http://localhost:7860"),
        ("127.0.0.1", {}, "[::1]:7860", "http://[::1]:7860"),
        ("127.0.0.1", {}, "photos.example", None),
        ("127.0.0.1", {}, "127.0.0.1.photos.example", None),
        ("127.0.0.1", {"shared": True}, "photos.example", "http://photos.example"),
        ("127.0.0.1", {"proxies": 1}, "Photos.example", "http://photos.example"),
        ("0.0.0.0", {}, "photos.example", "http://photos.example"),  # noqa: S104  # binds nothing
        ("0.0.0.0", {}, "photos.example/x", None),  # noqa: S104  # binds nothing
    ],
)
def test_origin_is_returned_only_for_trusted_hosts(
    listens_on: str, options: dict[str, Any], host: str, origin: str | None
) -> None:
    scope = {"type": "http", "scheme": "http", "headers": [(b"host", host.encode())]}
    assert TrustedHosts(listens_on, **options).origin(scope) == origin
