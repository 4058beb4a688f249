"""Limits on connections, tested with an application that echoes its requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.serving.http.connections import _MAX_PIPELINED, ConnectionLimits, LimitedProtocol
from tests.support.raw_http import PATIENCE_S, connected, everything, exchange, served, status_of
from tests.support.servers import wait_for

HEAD = 16 * 1024
CLOSE = b"Connection: close\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path, the names of the header fields and the body's length."""
    body, more = b"", scope["path"] != "/unread"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    names = sorted(name.decode() for name, _ in scope["headers"])
    told = json.dumps({"path": scope["path"], "names": names, "length": len(body)}).encode()
    headers = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


def told(answer: bytes) -> Any:
    assert status_of(answer) == 200, answer[:300]
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(echo) as port:
        yield port


@pytest.fixture(scope="module")
def short_timeouts() -> Iterator[int]:
    """Return the port of an application with short timeouts."""
    limits = ConnectionLimits(head_s=0.3, idle_s=1, stalled_s=0.3)
    with served(echo, limits) as port:
        yield port


def request(size: int) -> bytes:
    """Build a request whose head has a number of bytes."""
    start = b"GET /sized HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"X: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_head_of_maximum_size_is_accepted(port: int) -> None:
    assert told(exchange(port, request(HEAD)))["path"] == "/sized"


@pytest.mark.parametrize(
    "head",
    [
        request(HEAD + 1),
        request(2**20),
        b"GET /" + b"x" * HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:\r\n" * HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 2**20,
        b"x" * 2**20,
    ],
    ids=["one-byte-more", "large-field", "long-path", "many-fields", "no-end", "no-method"],
)
def test_head_that_is_too_large_is_rejected(port: int, head: bytes) -> None:
    assert status_of(exchange(port, head)) == 431


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r", b"\n\r"])
def test_blank_lines_count_towards_the_head(port: int, line: bytes) -> None:
    head = request(100)
    few = line * ((HEAD - len(head)) // len(line))
    assert told(exchange(port, few + head))["path"] == "/sized"
    assert status_of(exchange(port, line * HEAD + head)) in (0, 431)
    whole = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"/sized" in exchange(port, whole + few[:1000] + head)
    assert b"/sized" not in exchange(port, whole + line * HEAD + head)


def test_blank_lines_split_over_packets_are_limited(port: int) -> None:
    with connected(port) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(2 * HEAD):
                connection.sendall(b"\n")
            connection.sendall(request(100))
        assert status_of(everything(connection)) in (0, 431)


def test_blank_lines_after_a_response_do_not_extend_the_timeout(short_timeouts: int) -> None:
    with connected(short_timeouts) as connection:
        connection.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        start = connection.recv(1)
        connection.sendall(b"\r\n")
        assert b"/first" in start + everything(connection)


def test_blank_lines_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    feed = LimitedProtocol._feed

    def counted(self: LimitedProtocol, piece: bytes) -> None:
        sizes.append(len(piece))
        feed(self, piece)

    monkeypatch.setattr(LimitedProtocol, "_feed", counted)
    head = request(100)
    with served(echo) as port:
        exchange(port, b"\n" * 2**20)
        assert told(exchange(port, b"\r\n" * 5_000 + head))["path"] == "/sized"
    assert sizes == [len(head)]


def test_body_in_tiny_chunks_is_appended_once_per_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    appended: list[int] = []
    append = HttpToolsProtocol.on_body

    def counted(self: HttpToolsProtocol, body: bytes) -> None:
        appended.append(len(body))
        append(self, body)

    monkeypatch.setattr(HttpToolsProtocol, "on_body", counted)
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = 10_000
    with served(echo) as port:
        answer = told(exchange(port, head + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"))
    assert answer["length"] == chunks
    assert sum(appended) == chunks
    assert len(appended) < chunks / 10


@pytest.mark.parametrize("last", [b"", b"no method\r\n\r\n"], ids=["too-many", "malformed"])
def test_rejected_pipelined_request_does_not_corrupt_the_response(
    last: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    began, ended = threading.Event(), threading.Event()
    started: list[str] = []
    queued: list[int] = []
    close = LimitedProtocol._abort_if_stalled

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"more"})
        ended.set()

    def counted(self: LimitedProtocol) -> None:
        queued.append(len(self.pipeline))
        close(self)

    monkeypatch.setattr(LimitedProtocol, "_abort_if_stalled", counted)
    following = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n" * (3 if last else 300) + last
    with served(held) as port, connected(port) as connection:
        connection.sendall(b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        assert began.wait(PATIENCE_S)
        connection.sendall(b"x" + following)
        answer = everything(connection)
        assert ended.wait(PATIENCE_S)
    assert queued[0] == (3 if last else _MAX_PIPELINED)
    assert answer.endswith(b"5\r\nbegun\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert started == ["/first"]
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"x" * 2**20 + b"\r\ny\r\n0\r\n\r\n",
        b"1\r\ny\r\n0\r\nX: " + b"x" * 2**20 + b"\r\n\r\n",
        b"1\r\ny\r\n0\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
    ],
    ids=["chunk-extension", "large-trailer", "many-trailers"],
)
def test_chunk_headers_and_trailers_are_limited(port: int, body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status_of(exchange(port, head + body)) in (0, 431)


def test_trailers_are_not_header_fields(port: int) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = told(exchange(port, sent + b"1\r\ny\r\n0\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"))
    assert answer == {
        "path": "/",
        "names": ["connection", "host", "transfer-encoding"],
        "length": 1,
    }


@pytest.mark.parametrize("upgrade", [b"h2c", b"H2C", b"websocket", b"TLS/1.0, HTTP/2.0", b""])
@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
def test_body_with_an_upgrade_header_is_read(port: int, name: bytes, upgrade: bytes) -> None:
    sent = b"POST /upgrade HTTP/1.1\r\nHost: a\r\n" + name + b": " + upgrade
    sent += b"\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"
    sent += b"\r\nConnection: close, Upgrade, HTTP2-Settings\r\n"
    sized = exchange(port, sent + b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
    assert told(sized)["length"] == 100_000
    chunked = exchange(
        port, sent + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert told(chunked)["length"] == 5


def test_split_upgrade_header_keeps_the_body(port: int) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
    sent += b"Content-Length: 4\r\n\r\nbody"
    with connected(port) as connection:
        for byte in sent:
            connection.sendall(bytes([byte]))
        assert told(everything(connection))["length"] == 4


@pytest.mark.parametrize(
    "sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
def test_other_protocols_are_rejected(port: int, sent: bytes) -> None:
    assert status_of(exchange(port, sent)) == 400


def test_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    paths = [f"/{i}" for i in range(20)]
    sent = b"".join(
        b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % path.encode()
        for path in paths
    )
    answers = exchange(port, sent + b"GET /last HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
    found = [json.loads(part.splitlines()[-1]) for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert [each["path"] for each in found] == [*paths, "/last"]


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n\r\n", b"G"])
def test_incomplete_head_times_out(short_timeouts: int, start: bytes) -> None:
    with connected(short_timeouts) as connection:
        connection.sendall(start)
        assert status_of(everything(connection)) in (0, 408)


def test_slow_head_times_out(short_timeouts: int) -> None:
    ended = threading.Event()
    with connected(short_timeouts) as connection:

        def trickle() -> None:
            try:
                while not ended.wait(0.01):
                    connection.sendall(b"x")
            except OSError:
                pass

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert status_of(everything(connection)) in (0, 408)
        finally:
            ended.set()
            thread.join()


def test_incomplete_second_head_times_out(short_timeouts: int) -> None:
    whole = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    with connected(short_timeouts) as connection:
        connection.sendall(whole + b"GET /second HTTP/1.1\r\n")
        assert b"/first" in everything(connection)


def test_idle_connection_is_closed(short_timeouts: int) -> None:
    with connected(short_timeouts) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert told(everything(connection))["path"] == "/"


def test_unread_body_is_not_awaited(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        assert told(everything(connection))["path"] == "/unread"


def test_unread_response_times_out() -> None:
    ended = threading.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        leaving = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    with served(endless, ConnectionLimits(stalled_s=0.3)) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ended.wait(PATIENCE_S)


def test_waiting_connection_makes_room_for_a_new_one() -> None:
    with served(echo, ConnectionLimits(connections=20)) as port:
        waiting = []
        for _ in range(60):
            waiting.append(connected(port))
            waiting[-1].__enter__().sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert told(exchange(port, request(100)))["path"] == "/sized"
        for each in waiting:
            each.__exit__(None, None, None)


def test_connection_is_rejected_while_all_are_busy() -> None:
    go = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    asked = 0

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        loops.append(asyncio.get_running_loop())
        asked += 1
        await go.wait()
        await echo(scope, receive, send)

    with served(slow, ConnectionLimits(connections=2)) as port:
        with connected(port) as first, connected(port) as second:
            for each in (first, second):
                each.sendall(request(100))
            wait_for(lambda: asked == 2)
            assert status_of(exchange(port, request(100))) == 503
            loops[0].call_soon_threadsafe(go.set)
            assert {told(everything(each))["path"] for each in (first, second)} == {"/sized"}
        assert told(exchange(port, request(100)))["path"] == "/sized"


def test_data_received_during_a_response_is_limited() -> None:
    go = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        loops.append(asyncio.get_running_loop())
        await go.wait()
        await echo(scope, receive, send)

    with served(slow) as port, connected(port) as connection:
        connection.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: bool(loops))
        connection.sendall(b"GET /second HTTP/1.1\r\nX: " + bytes(2**20))
        loops[0].call_soon_threadsafe(go.set)
        answer = everything(connection)
        assert status_of(answer) == 200
        assert b"/second" not in answer


def test_malformed_chunk_does_not_corrupt_the_response() -> None:
    began = threading.Event()

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    with served(early) as port, connected(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert began.wait(PATIENCE_S)
        connection.sendall(b"no size\r\n")
        assert everything(connection).count(b"HTTP/1.1") == 1
