"""Load generator: `python -m bench.load KIND URL PHOTO CLIENTS SECONDS`.

KIND is `raw` for a server that takes the photo as the request body, or `gradio` for a Gradio app.
The clients run in their own process and do not share an interpreter with the server. The latency of
every response in milliseconds is printed as a JSON array.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["main"]

_Request = Callable[[], Awaitable[None]]


class _Connection:
    """A minimal keep-alive HTTP/1.1 connection for the servers of this benchmark.

    Args:
        url: URL of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def request(self, method: str, path: str, kind: str = "", body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if body:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the body of the response.

        Raises:
            RuntimeError: The status is not 200.
        """
        self._writer.write(request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if " 200 " not in head.split("\r\n", 1)[0]:
            raise RuntimeError(head)
        if "transfer-encoding: chunked" in head:
            parts = []
            while size := int(await self._reader.readline(), 16):
                parts.append(await self._reader.readexactly(size))
                await self._reader.readline()
            await self._reader.readline()
            return b"".join(parts)
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        return await self._reader.readexactly(int(fields["content-length"]))


def _raw(connection: _Connection, url: str, photo: bytes) -> _Request:
    """Create a client that posts the photo as the request body."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    request = connection.request("POST", path, "application/octet-stream", photo)

    async def ask() -> None:
        await connection.ask(request)

    return ask


def _gradio(connection: _Connection, url: str, photo: bytes) -> _Request:
    """Create a client that uploads the photo, queues the prediction and waits for its result."""
    del url
    boundary = b"--bench"
    form = b'Content-Disposition: form-data; name="files"; filename="photo.jpg"\r\n'
    body = boundary + b"\r\n" + form + b"Content-Type: image/jpeg\r\n\r\n" + photo
    body += b"\r\n" + boundary + b"--\r\n"
    kind = "multipart/form-data; boundary=bench"
    upload = connection.request("POST", "/gradio_api/upload", kind, body)

    async def ask() -> None:
        (path,) = json.loads(await connection.ask(upload))
        data = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]})
        call = connection.request(
            "POST", "/gradio_api/call/predict", "application/json", data.encode()
        )
        event = json.loads(await connection.ask(call))["event_id"]
        result = await connection.ask(
            connection.request("GET", f"/gradio_api/call/predict/{event}")
        )
        if b"event: complete" not in result:
            raise RuntimeError(result.decode())

    return ask


_KINDS = {"raw": _raw, "gradio": _gradio}


async def _client(ask: _Request, until: float, latencies: list[float]) -> None:
    while (began := time.perf_counter()) < until:
        await ask()
        # Responses after the deadline are not counted: they would favour slow servers, whose rate
        # is computed over the nominal duration.
        if (ended := time.perf_counter()) < until:
            latencies.append((ended - began) * 1e3)


async def _run_clients(
    kind: str, url: str, photo: bytes, clients: int, seconds: float
) -> list[float]:
    connections = [_Connection(url) for _ in range(clients)]
    for each in connections:
        await each.open()
    requests = [_KINDS[kind](each, url, photo) for each in connections]
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_client(ask, until, latencies) for ask in requests))
    for each in connections:
        await each.close()
    return latencies


def main() -> None:
    """Run the load that the command line describes."""
    kind, url, photo, clients, seconds = sys.argv[1:]
    latencies = asyncio.run(
        _run_clients(kind, url, Path(photo).read_bytes(), int(clients), float(seconds))
    )
    sys.stdout.write(json.dumps(latencies))


if __name__ == "__main__":
    main()
