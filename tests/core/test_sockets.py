"""Sockets that listen on an address."""

from __future__ import annotations

from contextlib import closing

import pytest

from core.errors import ListenError
from core.sockets import format_address, listen, probe


def test_port_zero_selects_a_free_port() -> None:
    with closing(listen("127.0.0.1", 0)) as first, closing(listen("127.0.0.1", 0)) as second:
        assert 0 != first.getsockname()[1] != second.getsockname()[1] != 0


def test_port_in_use_is_reported_with_the_option_to_change() -> None:
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: .* in use.*--port\."):
            probe("127.0.0.1", port)


def test_foreign_address_is_reported_with_the_options_to_change() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0: .* --host and --port\."):
        probe("192.0.2.1", 0)


def test_ipv6_address_is_formatted_in_brackets() -> None:
    assert format_address("::1", 80) == format_address("[::1]", 80) == "[::1]:80"
    assert format_address("localhost", 80) == "localhost:80"
