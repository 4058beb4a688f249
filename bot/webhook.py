"""Receive updates through a webhook.

The server speaks plain HTTP; terminate TLS at a reverse proxy.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from telegram.error import BadRequest, EndPointNotFound, InvalidToken, NetworkError, TelegramError

from bot.inbox import MAX_WAITING
from bot.polling import UPDATE_KINDS
from bot.refusals import UNKNOWN_BOT, UNKNOWN_METHOD, knows_token
from bot.state import BotApplication, BotState
from bot.tasks import unless_stopped, wait_or_stop
from bot.webhook_probe import WebhookProbe
from core.errors import BotError, StoreError
from core.serving.http.body_limit import BodyLimit, BodyLimits, BodyRule
from core.serving.http.connections import server_config
from core.serving.http.security_headers import SecurityHeaders
from core.sockets import probe
from core.store.hash_key import keyed_hash

__all__ = ["WebhookAddress", "WebhookServer"]

# Seconds that open connections get when the server stops.
_SHUTDOWN_S = 3
# Telegram opens at most 100 connections.
_MAX_UPDATE_BYTES = 2**20
_MAX_CONNECTIONS = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WebhookAddress:
    """Address at which updates are received.

    Attributes:
        url: Public https address that Telegram sends them to.
        host: Address that the server binds to.
        port: Port that it binds to.
    """

    url: str
    host: str = "127.0.0.1"
    port: int = 8443


class WebhookServer:
    """HTTP server that stores the updates that Telegram sends.

    Args:
        application: The bot.
        address: Where updates are received.

    Raises:
        BotError: The address is not an https address, or the secret of the settings is invalid.
    """

    def __init__(self, application: BotApplication, address: WebhookAddress) -> None:
        self._bot = application.bot
        self._state = application.bot_data
        self._address = address
        self._secret = _webhook_secret(self._state)
        if urlsplit(address.url).scheme != "https":
            raise BotError(f"A webhook needs an https address, and {address.url} is not one.")
        self._probe = WebhookProbe(address.url, self._state.hash_key)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Receive updates until the bot stops.

        Args:
            stop: Set to stop receiving.
            ready: Called once, after Telegram has accepted the address.

        Raises:
            BotError: Telegram does not know the token or accept the address, or sends the updates
                elsewhere.
            ListenError: The address cannot be bound to.
        """
        host, port = self._address.host, self._address.port
        probe(host, port)
        server = uvicorn.Server(
            server_config(
                _build_app(self._receive), stopping_s=_SHUTDOWN_S, host=host.strip("[]"), port=port
            )
        )
        # `serve` would handle the process's signals.
        serving = asyncio.create_task(server._serve())
        try:
            if await self._register(stop):
                self._state.tasks.start(self._probe.run())
                ready()
                await self._watch(stop)
        finally:
            server.should_exit = True
            await serving

    async def _receive(self, request: Request) -> Response:
        """Answer a request of Telegram; it sends an update again until the status is 200."""
        if (answer := self._probe.receive(request)) is not None:
            return answer
        if not self._probe.matches_path(request):
            return Response(status_code=404)
        secret = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return Response(status_code=403)
        update = await _update_of(request)
        if update is None:
            return Response(status_code=400)
        if self._state.inbox.waiting > MAX_WAITING:
            return Response(status_code=503)
        try:
            await self._state.inbox.receive([update])
        except StoreError:
            logger.exception("An update could not be stored")
            self._state.alarms.on_database_failure()
            return Response(status_code=503)
        self._state.alarms.on_database_success()
        return Response(status_code=200)

    async def _register(self, stop: asyncio.Event) -> bool:
        """Register the address with Telegram; return False if the bot stops before.

        Raises:
            BotError: Telegram does not know the token, or does not accept the address.
        """
        backoff = self._state.timings.reconnect
        pause = backoff.first_s
        while not stop.is_set():
            try:
                registered = await unless_stopped(
                    stop,
                    self._bot.set_webhook(
                        self._address.url, secret_token=self._secret, allowed_updates=UPDATE_KINDS
                    ),
                )
                return registered is not None
            except (InvalidToken, EndPointNotFound) as error:
                with suppress(NetworkError):
                    await self._explain_not_found(error)
            except BadRequest as error:
                raise BotError(
                    f"Telegram does not accept {self._address.url} as a webhook: {error.message}. "
                    "It requires an https address with port 443, 80, 88 or 8443."
                ) from error
            except NetworkError as error:
                logger.warning("The webhook cannot be registered: %s", error)
            await wait_or_stop(stop, pause)
            pause = backoff.next(pause)
        return False

    async def _explain_not_found(self, error: TelegramError) -> None:
        """Raise an error that explains the refusal of setWebhook.

        Raises:
            BotError: The token or the method is unknown.
            NetworkError: The server cannot be reached now.
        """
        if not await knows_token(self._bot):
            raise BotError(UNKNOWN_BOT) from error
        advice = "Leave out --webhook to fetch updates by polling."
        raise BotError(UNKNOWN_METHOD.format(method="setWebhook", advice=advice)) from error

    async def _watch(self, stop: asyncio.Event) -> None:
        """Check at intervals that Telegram still sends updates here, until the bot stops.

        Raises:
            BotError: Telegram sends them elsewhere.
        """
        registered = ""
        while not stop.is_set():
            try:
                info = await unless_stopped(stop, self._bot.get_webhook_info())
            except (InvalidToken, EndPointNotFound) as error:
                with suppress(NetworkError):
                    if not await knows_token(self._bot):
                        raise BotError(UNKNOWN_BOT) from error
            except TelegramError as error:
                logger.warning("The webhook's registration cannot be checked: %s", error)
            else:
                if info is None:
                    return
                # Telegram may spell the address in another way than it was given.
                registered = registered or info.url
                if not info.url or info.url != registered:
                    raise BotError(
                        "Telegram no longer sends the updates of this bot to "
                        f"{self._address.url}: another program receives them, by polling or at "
                        "another address. Stop one of the two."
                    )
            await wait_or_stop(stop, self._state.timings.webhook_check_s)


async def _update_of(request: Request) -> dict[str, Any] | None:
    """Return the update of a request; None where its body is not one."""
    try:
        update = await request.json()
    except ValueError:
        return None
    if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
        return None
    return update


def _build_app(receive: Callable[[Request], Awaitable[Response]]) -> Starlette:
    """Build the app that passes every POST request on, whatever its path."""
    return Starlette(
        # The path is compared by the receiver: a route's path cannot hold braces and is compared
        # before it is decoded. With this route, no request is redirected to http:// either.
        routes=[Route("/{anything:path}", receive, methods=["POST"])],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(
                BodyLimit,
                limits=BodyLimits(
                    bodies=_MAX_CONNECTIONS, held_bytes=_MAX_CONNECTIONS * _MAX_UPDATE_BYTES
                ),
                rule_of=lambda _: BodyRule(_MAX_UPDATE_BYTES),
            ),
        ],
    )


def _webhook_secret(state: BotState) -> str:
    """Return the secret that authenticates Telegram's requests.

    Raises:
        BotError: The secret of the settings has characters that Telegram does not accept.
    """
    secret = state.settings.telegram_webhook_secret
    if secret is None:
        return keyed_hash(state.hash_key, "webhook")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret.get_secret_value()):
        raise BotError(
            "TENSIGHT_TELEGRAM_WEBHOOK_SECRET must be 1 to 256 characters: letters, digits, _ or -."
        )
    return secret.get_secret_value()
