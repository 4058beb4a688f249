"""What a hostile connection costs: seconds, memory, and how long another client waits meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.figures import Section, resident_mb
from bench.photos import Photos
from tests.support.servers import free_port, wait_until_it_answers

__all__ = ["security_connections"]

_MB = 2**20
_IDLE = 1_100
_PAUSE_S = 0.05


@dataclass
class _Server:
    """A server that is attacked.

    Attributes:
        process: Its process.
        port: Where it listens.
        path: What another client asks for meanwhile.
    """

    process: subprocess.Popen[bytes]
    port: int
    path: str

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, *pieces: bytes) -> None:
        """Send bytes, and wait until the server has answered or closed."""
        with self.connect() as connection, contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            while connection.recv(65536):
                pass


@dataclass
class _Other:
    """A client that asks again and again, and notes how long each answer took."""

    server: _Server
    waits: list[float] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        ended = threading.Event()

        def ask() -> None:
            url = f"http://127.0.0.1:{self.server.port}{self.server.path}"
            while not ended.is_set():
                began = time.perf_counter()
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(url, timeout=60)
                self.waits.append(time.perf_counter() - began)
                ended.wait(_PAUSE_S)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _large_head(server: _Server) -> None:
    server.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", *[b"x" * _MB] * 64)


def _many_fields(server: _Server) -> None:
    server.send(b"GET / HTTP/1.1\r\nHost: a\r\n", *[b"a:\r\n" * (_MB // 4)] * 64)


def _half_heads(server: _Server) -> None:
    connections = []
    with contextlib.suppress(OSError):
        for _ in range(_IDLE):
            connections.append(server.connect())
            connections[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
    time.sleep(1)
    for each in connections:
        each.close()


def _idle(server: _Server) -> None:
    connections: list[socket.socket] = []
    with contextlib.suppress(OSError):
        connections.extend(server.connect() for _ in range(_IDLE))
    time.sleep(1)
    for each in connections:
        each.close()


def _tiny_chunks(server: _Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.send(head, b"1\r\nx\r\n" * 1_000_000, b"0\r\n\r\n")


def _large_trailer(server: _Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.send(head, b"1\r\nx\r\n0\r\nX: ", *[b"x" * _MB] * 64)


def _large_events(server: _Server) -> None:
    head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n\r\n"
    threads = [
        threading.Thread(target=server.send, args=(head, *[b"x" * _MB] * 300)) for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _unheard_events(server: _Server) -> None:
    body = json.dumps({"data": [{"path": "x"}, "x" * 1_000_000, False]}).encode()
    url = f"http://127.0.0.1:{server.port}/gradio_api/call/predict"
    with httpx.Client(timeout=60) as client:
        for _ in range(300):
            client.post(url, content=body, headers={"Content-Type": "application/json"})


def _field_upload(server: _Server) -> None:
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        "--B\r\nContent-Disposition: form-data; name=files\r\n\r\n"
    )
    server.send(head.encode(), *[b"x" * _MB] * 300)


_OF_ALL: dict[str, Callable[[_Server], None]] = {
    "a header field of 64 MB": _large_head,
    "64 MB of header fields": _many_fields,
    f"{_IDLE:,} half-sent heads": _half_heads,
    f"{_IDLE:,} idle connections": _idle,
}
_OF_SERVICE = _OF_ALL | {
    "a body in 1,000,000 chunks of a byte": _tiny_chunks,
    "a trailer of 64 MB": _large_trailer,
}
_OF_PAGE = _OF_ALL | {
    "four events of 300 MB": _large_events,
    "300 events of 1 MB that nobody hears": _unheard_events,
    "an upload of 300 MB that is no file": _field_upload,
}


def security_connections(photos: Photos, folder: Path) -> Section:
    """Attack service and page, each in turn, and ask them as another client meanwhile."""
    del photos
    section = Section(
        "Security: connections",
        "Each input is sent to a running service or page by one client, while another asks for "
        "/healthz twenty times a second; both run on the same processors as the server. Seconds "
        "until the input is refused or over, what it adds to resident memory, and the longest "
        "wait of the other client.",
    )
    for front, attacks in (("serve", _OF_SERVICE), ("web", _OF_PAGE)):
        with _running(front, folder) as server:
            for what, attack in attacks.items():
                before = resident_mb(server.process.pid)
                other = _Other(server)
                began = time.perf_counter()
                with other.asking():
                    attack(server)
                    taken = time.perf_counter() - began
                grown = resident_mb(server.process.pid) - before
                section.add(f"{front}: {what}", taken, "s")
                section.add(f"{front}: {what}: memory", max(grown, 0.0), "MB")
                section.add(
                    f"{front}: {what}: another client waits", max(other.waits), "s", "under 1"
                )
    return section


@contextmanager
def _running(front: str, folder: Path) -> Iterator[_Server]:
    port = free_port()
    log = folder / f"security-{front}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "core.cli", front, "--port", str(port)],
            stdout=stream,
            stderr=stream,
            env=os.environ,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", process, log)
        while b"TenSight answers" not in log.read_bytes():
            time.sleep(0.1)  # it loads models
        yield _Server(process, port, "/healthz")
    finally:
        process.terminate()
        process.wait(60)
