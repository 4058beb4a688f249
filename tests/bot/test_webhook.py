"""The address that Telegram sends updates to, however it is spelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.webhook import Trial
from tests.bot.running import running
from tests.bot.test_bot import asked
from tests.support.servers import free_port
from tests.telegram_server import TelegramServer


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.mark.parametrize(
    ("path", "comes_as"),
    [
        ("/hook", "/hook"),
        ("/%7Ebot/hook", "/%7Ebot/hook"),
        ("/%7Ebot/hook", "/~bot/hook"),
        ("/a%20b", "/a%20b"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/café", "/caf%C3%A9"),
        ("/{token}/hook", "/%7Btoken%7D/hook"),
        ("/100%25", "/100%25"),
        ("/a%2Fb", "/a%2Fb"),
        ("", "/"),
    ],
)
def test_updates_arrive_at_any_path(
    telegram: TelegramServer, tmp_path: Path, path: str, comes_as: str
) -> None:
    port = free_port()
    telegram.webhook["local"] = f"http://127.0.0.1:{port}{comes_as}"
    with running(telegram, tmp_path, webhook=f"https://bot.example{path}", port=port):
        asked(telegram, 1, lambda: telegram.text(1, "/whoami"))
        headers = {"X-Telegram-Bot-Api-Secret-Token": telegram.webhook["secret_token"]}
        other = f"http://127.0.0.1:{port}/another"
        assert httpx.post(other, json={"update_id": 9000}, headers=headers).status_code == 404


def try_out(url: str, *, leads_to: str | None = None) -> None:
    """Run a trial, through a proxy that puts another path there where it is given."""
    trial: Trial

    async def take(request: Request) -> Response:
        if leads_to is not None:
            request.scope["path"] = leads_to
        return Response(status_code=204 if trial.is_sent_by(request) else 403)

    app = Starlette(routes=[Route("/{anything:path}", take, methods=["POST"])])
    trial = Trial(url, httpx.ASGITransport(app))
    asyncio.run(trial.run())


@pytest.mark.parametrize("path", ["/hook", "/%7Ebot/a%20b", "/caf%C3%A9", "/{x}", ""])
def test_address_that_leads_here_is_found(path: str, caplog: pytest.LogCaptureFixture) -> None:
    try_out(f"https://bot.example{path}")
    assert caplog.text == ""


def test_address_that_leads_elsewhere_is_told(caplog: pytest.LogCaptureFixture) -> None:
    try_out("https://bot.example/hook", leads_to="/")
    assert "A request to https://bot.example/hook did not arrive here" in caplog.text


def test_address_that_is_somebody_elses_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(request: Request) -> Response:
        assert "x-telegram-bot-api-secret-token" not in request.headers
        return Response(status_code=403)

    app = Starlette(routes=[Route("/{anything:path}", refuse, methods=["POST"])])
    with caplog.at_level(logging.WARNING):
        asyncio.run(Trial("https://x.example/", httpx.ASGITransport(app)).run())
    assert "did not arrive here (status 403)" in caplog.text
