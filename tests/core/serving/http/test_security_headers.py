from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from core.serving.http.security_headers import SecurityHeaders


def test_responses_have_security_headers(url: str) -> None:
    for path in ("/healthz", "/nowhere"):
        headers = httpx2.get(f"{url}{path}").headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_header_of_the_response_itself_is_kept() -> None:
    own = (b"Content-Security-Policy", b"default-src 'self'")
    sent: list[Any] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [own]})

    async def send(message: Any) -> None:
        sent.append(message)

    app = SecurityHeaders(answer, framed_by="https://example.org")
    asyncio.run(app({"type": "http"}, asyncio.Event().wait, send))  # type: ignore[arg-type]  # nothing is received
    names = [name.lower() for name, _ in sent[0]["headers"]]
    assert sent[0]["headers"][0] == own
    assert names.count(b"content-security-policy") == 1
    assert b"x-content-type-options" in names
