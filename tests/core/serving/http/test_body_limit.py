from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx2
import pytest

from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.http.body_limit import BodyLimits
from core.settings import Settings
from tests.support.http_service import MODELS, port_of, post, serving
from tests.support.raw_http import exchange
from tests.support.servers import wait_for


def test_body_is_not_read_beyond_its_size_limit(url: str) -> None:
    """The client does not announce the length, and would never stop sending."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 4 * MAX_BYTES:
            sent += 2**20
            yield b"\xff" * 2**20

    try:
        answer = post(url, content=endless())
    except httpx2.TransportError:
        pass  # it was told while still sending
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert sent < 2 * MAX_BYTES
    answer = post(url, content=b"\xff" * (MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/predict?top=0"])
def test_unread_body_closes_the_connection(url: str, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = exchange(port_of(url), head.encode() + b"5\r\nhello\r\n")  # and never an end
    assert b"connection: close" in said.lower()


@pytest.fixture(scope="module")
def short_timeouts(catalog: Catalog) -> Iterator[str]:
    """Return the address of a service that gives a body half a second."""
    with serving(Settings(models=MODELS), catalog, bodies=BodyLimits(16, grace_s=0.5)) as address:
        yield address


def test_missing_body_times_out(short_timeouts: str) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    said = exchange(port_of(short_timeouts), head + b"some of it")
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"too_slow"' in said


def test_slow_body_times_out(short_timeouts: str) -> None:
    host, port = short_timeouts.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for _ in range(60):
            with suppress(OSError):
                sender.sendall(b"x")
            if select.select([sender], [], [], 0.1)[0]:
                break
        assert sender.recv(100).startswith(b"HTTP/1.1 408"), "never a pause as long as that"


def test_total_size_of_bodies_is_limited(catalog: Catalog, jpeg: bytes) -> None:
    bodies = BodyLimits(16, held_bytes=2 * len(jpeg))
    with serving(Settings(models=MODELS), catalog, bodies=bodies) as url:
        host, port = url.removeprefix("http://").split(":")
        length = 3 * len(jpeg)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"

        def second_is_refused() -> bool:
            # The one that comes last is refused, which may be the first.
            with socket.create_connection((host, int(port))) as held:
                held.sendall(head.encode() + jpeg + jpeg[:100])
                return post(url, content=jpeg).status_code == 503

        wait_for(second_is_refused)
        wait_for(lambda: post(url, content=jpeg).status_code == 200)


def test_number_of_concurrent_bodies_is_limited(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, queue_size=2)
    with serving(settings, catalog) as url:
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx"

        def third_is_refused() -> bool:
            # The one that comes last is refused, which may be one of the first two.
            with ExitStack() as held:
                for _ in range(2):
                    connection = socket.create_connection((host, int(port)))
                    held.enter_context(connection).sendall(head)
                refused = post(url, content=jpeg).status_code == 503
                assert httpx2.get(f"{url}/healthz").status_code == 200
                return refused

        wait_for(third_is_refused)
        wait_for(lambda: post(url, content=jpeg).status_code == 200)
