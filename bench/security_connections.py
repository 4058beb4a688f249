"""Cost of hostile connections: time, memory, and the response time of another client."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from bench.attacks import Server, other_client, run_server
from bench.figures import Section, resident_mb

__all__ = ["attack_connections"]

_MB = 2**20
_CONNECTIONS = 1_100
_PAUSE_S = 0.05


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def _send(server: Server, *pieces: bytes) -> None:
    """Send bytes, and wait until the server has responded or closed the connection."""
    with _connect(server) as connection, contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
        while connection.recv(65536):
            pass


def _large_head(server: Server) -> None:
    _send(server, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", *[b"x" * _MB] * 64)


def _many_fields(server: Server) -> None:
    _send(server, b"GET / HTTP/1.1\r\nHost: a\r\n", *[b"a:\r\n" * (_MB // 4)] * 64)


def _at_once(server: Server, connections: int, *pieces: bytes) -> None:
    """Send the same bytes over several connections."""
    threads = [threading.Thread(target=_send, args=(server, *pieces)) for _ in range(connections)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _blank_lines(server: Server) -> None:
    _at_once(server, 8, *[b"\n" * _MB] * 8)


def _blank_crlf_lines(server: Server) -> None:
    _at_once(server, 8, *[b"\r\n" * (_MB // 2)] * 8)


def _pipelined_requests(server: Server) -> None:
    first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    _at_once(server, 8, first + b"GET / HTTP/1.1\r\n\r\n" * 50_000)


def _incomplete_heads(server: Server) -> None:
    connections = []
    with contextlib.suppress(OSError):
        for _ in range(_CONNECTIONS):
            connections.append(_connect(server))
            connections[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
    time.sleep(1)
    for each in connections:
        each.close()


def _idle(server: Server) -> None:
    connections: list[socket.socket] = []
    with contextlib.suppress(OSError):
        connections.extend(_connect(server) for _ in range(_CONNECTIONS))
    time.sleep(1)
    for each in connections:
        each.close()


def _tiny_chunks(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    _send(server, head, b"1\r\nx\r\n" * 1_000_000, b"0\r\n\r\n")


def _chunk_extensions(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1;" + b"x" * 1_000 + b"\r\nx\r\n"
    _at_once(server, 8, head, *[chunk * 1_000] * 8, b"0\r\n\r\n")


def _large_trailer(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    _send(server, head, b"1\r\nx\r\n0\r\nX: ", *[b"x" * _MB] * 64)


def _large_events(server: Server) -> None:
    head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n\r\n"
    _at_once(server, 4, head, *[b"x" * _MB] * 300)


def _events_without_listener(server: Server) -> None:
    body = json.dumps({"data": [{"path": "x"}, "x" * 1_000_000, False]}).encode()
    url = f"http://127.0.0.1:{server.port}/gradio_api/call/predict"
    with httpx.Client(timeout=60) as client:
        for _ in range(300):
            client.post(url, content=body, headers={"Content-Type": "application/json"})


def _events_of_lists(server: Server) -> None:
    body = b'{"data":[' + b"[]," * 340_000 + b"0]}"
    head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    _at_once(server, 48, head, body)


def _field_upload(server: Server) -> None:
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        "--B\r\nContent-Disposition: form-data; name=files\r\n\r\n"
    )
    _send(server, head.encode(), *[b"x" * _MB] * 300)


_COMMON_ATTACKS: dict[str, Callable[[Server], None]] = {
    "a header field of 64 MB": _large_head,
    "64 MB of header fields": _many_fields,
    "64 MB of blank lines over 8 connections": _blank_lines,
    "64 MB of blank CRLF lines over 8 connections": _blank_crlf_lines,
    "400,000 pipelined requests over 8 connections": _pipelined_requests,
    f"{_CONNECTIONS:,} half-sent heads": _incomplete_heads,
    f"{_CONNECTIONS:,} idle connections": _idle,
}
_SERVICE_ATTACKS = _COMMON_ATTACKS | {
    "a body in 1,000,000 chunks of a byte": _tiny_chunks,
    "64 MB of chunk extensions over 8 connections": _chunk_extensions,
    "a trailer of 64 MB": _large_trailer,
}
_PAGE_ATTACKS = _COMMON_ATTACKS | {
    "four events of 300 MB": _large_events,
    "300 events of 1 MB without a listener": _events_without_listener,
    "48 events of 340,000 lists each": _events_of_lists,
    "an upload of 300 MB that is not a file": _field_upload,
}


def attack_connections(section: Section, folder: Path) -> list[str]:
    """Attack service and page in turn, and send requests as another client meanwhile.

    Args:
        section: Section that the highest costs are added to.
        folder: Folder for log files.

    Returns:
        Method, and a table with a row for each attack.
    """
    rows, waits, memory_growth = [], [], []
    for front, attacks in (("serve", _SERVICE_ATTACKS), ("web", _PAGE_ATTACKS)):
        with run_server(front, folder) as server:
            for name, attack in attacks.items():
                before = resident_mb(server.process.pid)
                started = time.perf_counter()
                with other_client(partial(_request_health, server.url), _PAUSE_S) as durations:
                    attack(server)
                    taken = time.perf_counter() - started
                memory_growth.append(max(resident_mb(server.process.pid) - before, 0.0))
                waits.append(max(durations, default=0.0))
                target = "service" if front == "serve" else "page"
                rows.append(
                    f"| {target}: {name} | {taken:.2f} | {memory_growth[-1]:,.0f} "
                    f"| {waits[-1]:.2f} |"
                )
                sys.stdout.write(f"{rows[-1]}\n")
    section.add("hostile connections: longest wait of another client", max(waits), "s", "under 1")
    section.add("hostile connections: highest memory", max(memory_growth), "MB")
    method = (
        "One client sends each input to a running service or page, while another client requests "
        "/healthz twenty times a second: seconds until the input is rejected or processed, and the "
        "memory that it leaves."
    )
    table = [
        "| input | seconds | memory, MB | another client waits, s |",
        "| --- | ---: | ---: | ---: |",
        *rows,
    ]
    return [method, "\n".join(table)]


def _request_health(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(f"{url}/healthz", timeout=60)
