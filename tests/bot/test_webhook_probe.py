"""The probe of the webhook's public address."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.webhook_probe import WebhookProbe

KEY = b"a key of all replicas"


def run_probe(url: str, *, path: str | None = None, elsewhere: bool = False) -> None:
    """Run a probe through a proxy.

    Args:
        url: The webhook's address.
        path: Path that the proxy requests instead.
        elsewhere: Whether the proxy chooses another replica.
    """
    probe: WebhookProbe

    async def receive(request: Request) -> Response:
        if path is not None:
            request.scope["path"] = path
        receiver = WebhookProbe(url, KEY) if elsewhere else probe
        return receiver.receive(request) or Response(status_code=403)

    app = Starlette(routes=[Route("/{anything:path}", receive, methods=["POST"])])
    probe = WebhookProbe(url, KEY, httpx.ASGITransport(app))
    asyncio.run(probe.run())


@pytest.mark.parametrize("path", ["/hook", "/%7Ebot/a%20b", "/caf%C3%A9", "/{x}", ""])
def test_successful_probe_logs_nothing(path: str, caplog: pytest.LogCaptureFixture) -> None:
    run_probe(f"https://bot.example{path}")
    assert caplog.text == ""


def test_probe_may_arrive_at_another_replica(caplog: pytest.LogCaptureFixture) -> None:
    run_probe("https://bot.example/hook", elsewhere=True)
    assert caplog.text == ""


@pytest.mark.parametrize("elsewhere", [False, True])
def test_probe_warns_about_a_changed_path(
    caplog: pytest.LogCaptureFixture, elsewhere: bool
) -> None:
    run_probe("https://bot.example/hook", path="/", elsewhere=elsewhere)
    assert "A request to https://bot.example/hook did not arrive here" in caplog.text


def test_probe_sends_no_secret_to_another_server(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(request: Request) -> Response:
        assert "x-telegram-bot-api-secret-token" not in request.headers
        return Response(status_code=403)

    app = Starlette(routes=[Route("/{anything:path}", refuse, methods=["POST"])])
    with caplog.at_level(logging.WARNING):
        asyncio.run(WebhookProbe("https://x.example/", KEY, httpx.ASGITransport(app)).run())
    assert "did not arrive here (status 403)" in caplog.text
