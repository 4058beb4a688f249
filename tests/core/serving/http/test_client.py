"""Who sends a request, through proxies."""

from __future__ import annotations

import pytest

from core.serving.http.client import client_address, client_key


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
def test_address_is_what_the_declared_proxies_add(
    lines: tuple[str, ...], proxies: int, expected: str
) -> None:
    assert address(*lines, proxies=proxies) == expected


def test_network_of_ipv6_counts_as_one_client() -> None:
    assert client_key("2001:db8:1:2::1") == client_key("2001:DB8:1:2:ffff::9")
    assert client_key("2001:db8:1:2::1") != client_key("2001:db8:1:3::1")
    assert client_key("::ffff:192.0.2.1") == client_key("192.0.2.1") == "192.0.2.1"
    assert client_key("192.0.2.1") != client_key("192.0.2.2")
    assert client_key("") == ""
    assert client_key("testclient") == "testclient"
