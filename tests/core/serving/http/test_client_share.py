"""Concurrent requests of one client."""

from __future__ import annotations

import asyncio
from typing import Any

from core.serving.http.client_share import ClientShare

ONE, OTHER = "192.0.2.1", "192.0.2.2"


class Held:
    """An application whose responses wait until they are released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.fails = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self.release.wait()
        if self.fails:
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def status_of(app: ClientShare, address: str, kind: str = "http") -> int:
    """Send a request and return the status of the response."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "client": (address, 1), "path": "/", "method": "GET", "headers": []}
    await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]  # nothing is received
    return int(sent[0]["status"])


def test_client_beyond_its_share_is_rejected_and_others_are_not() -> None:
    async def run() -> None:
        held = Held()
        app = ClientShare(held, 2)
        open_ = [asyncio.create_task(status_of(app, ONE)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await status_of(app, ONE) == 429
        assert await status_of(app, ONE, "lifespan") == 200, "not a request"
        open_.append(asyncio.create_task(status_of(app, OTHER)))
        await asyncio.sleep(0)
        held.release.set()
        assert await asyncio.gather(*open_) == [200, 200, 200]
        assert await status_of(app, ONE) == 200

    asyncio.run(run())


def test_failed_request_gives_its_place_back() -> None:
    async def run() -> None:
        held = Held()
        held.release.set()
        held.fails = True
        app = ClientShare(held, 1)
        for _ in range(2):
            try:
                await status_of(app, ONE)
            except RuntimeError:
                continue
        held.fails = False
        assert await status_of(app, ONE) == 200

    asyncio.run(run())
