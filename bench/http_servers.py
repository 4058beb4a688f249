"""CPU time per request of several ASGI servers: `python -m bench.http_servers`.

One small ASGI application is served by each server in turn and called over keep-alive connections:
uvicorn with httptools, the same with our limits (`limited`), uvicorn with h11, and Granian where it
is installed. Each server process runs `python -m bench.http_servers serve KIND PORT`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
from typing import Literal, cast

import uvicorn
from starlette.types import Receive, Scope, Send

from core.serving.http.connections import server_config

__all__ = ["main"]

_KINDS = ("httptools", "limited", "h11", "granian")
_CLIENTS = 16
_SECONDS = 2.0
_PHOTO_BYTES = 171_000
_CHUNKS = 40_000


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request body and respond with its length."""
    if scope["type"] != "http":
        return
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _serve(kind: str, port: int) -> None:
    if kind == "granian":
        granian = __import__("granian")
        granian.Granian(
            "bench.http_servers:application",
            address="127.0.0.1",
            port=port,
            interface="asgi",
            log_enabled=False,
        ).serve()
        return
    if kind == "limited":
        config = server_config(application, port=port, stopping_s=1)
    else:
        parser = cast("Literal['httptools', 'h11']", kind)
        config = uvicorn.Config(
            application, port=port, http=parser, log_config=None, access_log=False, lifespan="off"
        )
    uvicorn.Server(config).run()


def _request(body: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chunked() -> bytes:
    """Build a request whose body is sent in chunks of one byte."""
    head = b"POST / HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"1\r\nx\r\n" * _CHUNKS + b"0\r\n\r\n"


async def _send_requests(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    responses = 0
    while time.perf_counter() < until:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        responses += 1
    writer.close()
    return responses


async def _count(port: int, request: bytes, clients: int) -> int:
    until = time.perf_counter() + _SECONDS
    return sum(
        await asyncio.gather(*(_send_requests(port, request, until) for _ in range(clients)))
    )


def _wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def _processor_s(kind: str, request: bytes, clients: int) -> tuple[float, int]:
    """Return the CPU time of a server in seconds, and its number of responses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "bench.http_servers", "serve", kind, str(port)]
    server = subprocess.Popen(command)
    try:
        _wait_for(port)
        responses = asyncio.run(_count(port, request, clients)) if clients else 0
    finally:
        server.terminate()
        _, status, usage = os.wait4(server.pid, 0)
        server.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, responses


def main() -> None:
    """Print the CPU time of a small request, of a photo, and of a body in tiny chunks."""
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2], int(sys.argv[3]))
        return
    requests = {
        "a small request": (_request(b""), _CLIENTS),
        f"a photo of {_PHOTO_BYTES:,} bytes": (_request(bytes(_PHOTO_BYTES)), _CLIENTS),
        f"{_CHUNKS:,} chunks of one byte": (_chunked(), 1),
    }
    for kind in _KINDS:
        if kind == "granian" and importlib.util.find_spec("granian") is None:
            sys.stdout.write("granian: not installed\n")
            continue
        start_s, _ = _processor_s(kind, b"", 0)
        for what, (request, clients) in requests.items():
            total_s, responses = _processor_s(kind, request, clients)
            sys.stdout.write(
                f"{kind}: {(total_s - start_s) / responses * 1e6:,.0f} µs for {what}\n"
            )


if __name__ == "__main__":
    main()
