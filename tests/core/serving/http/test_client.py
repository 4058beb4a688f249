"""Addresses of clients behind proxies."""

from __future__ import annotations

import httpx2
import pytest

from core.registry.catalog import Catalog
from core.serving.http.client import client_address, client_key
from core.settings import Settings
from tests.support.http_service import MODELS, serving


def address(*lines: str, proxies: int) -> str:
    headers = [(b"host", b"a")] + [(b"x-forwarded-for", line.encode()) for line in lines]
    return client_address({"client": ("10.0.0.1", 1234), "headers": headers}, proxies)


@pytest.mark.parametrize(
    ("lines", "proxies", "expected"),
    [
        ((), 0, "10.0.0.1"),
        ((), 1, "10.0.0.1"),
        (("1.1.1.1",), 0, "10.0.0.1"),
        (("1.1.1.1",), 1, "1.1.1.1"),
        (("9.9.9.9, 1.1.1.1",), 1, "1.1.1.1"),
        (("9.9.9.9", "1.1.1.1"), 1, "1.1.1.1"),
        (("9.9.9.9", "1.1.1.1, 2.2.2.2"), 2, "1.1.1.1"),
        (("9.9.9.9", "1.1.1.1", "2.2.2.2"), 2, "1.1.1.1"),
        (("1.1.1.1",), 2, "10.0.0.1"),
        (("1.1.1.1:4711",), 1, "1.1.1.1"),
        (("[2001:db8::1]:4711",), 1, "2001:db8::1"),
        (('"[2001:db8::1]"',), 1, "2001:db8::1"),
        (("fe80::1%eth0",), 1, "fe80::1"),
        (("::ffff:1.1.1.1",), 1, "1.1.1.1"),
        (("unknown",), 1, "10.0.0.1"),
        (("",), 1, "10.0.0.1"),
        (("1.1.1.1,",), 1, "10.0.0.1"),
        (("é",), 1, "10.0.0.1"),
    ],
)
def test_address_is_taken_from_trusted_proxies(
    lines: tuple[str, ...], proxies: int, expected: str
) -> None:
    assert address(*lines, proxies=proxies) == expected


def test_ipv6_network_counts_as_one_client() -> None:
    assert client_key("2001:db8:1:2::1") == client_key("2001:DB8:1:2:ffff::9")
    assert client_key("2001:db8:1:2::1") != client_key("2001:db8:1:3::1")
    assert client_key("::ffff:192.0.2.1") == client_key("192.0.2.1") == "192.0.2.1"
    assert client_key("192.0.2.1") != client_key("192.0.2.2")
    assert client_key("") == ""
    assert client_key("testclient") == "testclient"


def test_service_reads_the_address_behind_declared_proxies(catalog: Catalog) -> None:
    settings = Settings(models=MODELS, rate_per_minute=1, proxies=1)
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        statuses = [
            client.get("/v1/models", headers=[("X-Forwarded-For", line) for line in lines])
            for lines in (
                ["1.1.1.1"],
                ["9.9.9.9, 1.1.1.1"],
                ["9.9.9.8", "1.1.1.1"],
                ["2001:db8::1"],
                ["[2001:db8::2]:1234"],
                ["2001:db8:0:1::1"],
            )
        ]
        assert [each.status_code for each in statuses] == [200, 429, 429, 200, 429, 200]
