"""Receive updates through a webhook."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from telegram.error import BadRequest, EndPointNotFound, InvalidToken, NetworkError, TelegramError

from bot import tasks
from bot.alarms import clear_database_failure, report_database_failure
from bot.inbox import Inbox
from bot.polling import MAX_WAITING, UPDATE_KINDS
from bot.refusals import UNKNOWN_BOT, UNKNOWN_METHOD, knows_token
from bot.state import BotApplication, BotState
from bot.tasks import start, unless_stopped, wait_or_stop
from core.errors import BotError, StoreError
from core.serving.http.body_limit import BodyLimit, BodyLimits, BodyRule
from core.serving.http.connections import server_config
from core.serving.http.security_headers import SecurityHeaders
from core.sockets import probe

__all__ = ["Trial", "listen"]

_HANG_UP_S = 3
# Bytes of an update, and how many are read at once; Telegram sends 100 at most.
_MAX_UPDATE_BYTES = 2**20
_UPDATES = 100
# Seconds between looks at whether Telegram still sends updates here.
_WATCH_S = 300.0
_TRIAL_S = 20.0
_TRIAL_HEADER = "X-TenSight-Trial"

logger = logging.getLogger(__name__)


async def listen(
    application: BotApplication,
    inbox: Inbox,
    stop: asyncio.Event,
    url: str,
    host: str,
    port: int,
    ready: Callable[[], None],
) -> None:
    """Receive updates into the inbox until told to stop.

    Args:
        application: The bot.
        inbox: Where updates are written down before Telegram is answered.
        stop: Ends it.
        url: Public https address that Telegram is told.
        host: Address to listen on.
        port: Port to listen on.
        ready: Called once, after Telegram has taken the address.

    Raises:
        BotError: The token or the address is wrong.
        ListenError: The address cannot be listened on.
    """
    state: BotState = application.bot_data["state"]
    secret = _webhook_secret(state)
    if urlsplit(url).scheme != "https":
        raise BotError(f"Telegram sends updates to an address of https alone, not to {url}.")
    trial = Trial(url)

    async def take(request: Request) -> Response:
        if trial.is_sent_by(request):
            return Response(status_code=204)
        if not trial.is_for(request):
            return Response(status_code=404)
        sent = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(sent.encode(), secret.encode()):
            return Response(status_code=403)
        try:
            update = await request.json()
            if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
                return Response(status_code=400)
        except ValueError:
            return Response(status_code=400)
        if inbox.waiting > MAX_WAITING:
            return Response(status_code=503)
        try:
            await inbox.receive([update])
        except StoreError:
            # Telegram sends it again.
            logger.exception("An update cannot be written down")
            report_database_failure(application)
            return Response(status_code=503)
        clear_database_failure(application)
        return Response(status_code=200)

    probe(host, port)
    server = uvicorn.Server(
        server_config(_application(take), stopping_s=_HANG_UP_S, host=host.strip("[]"), port=port)
    )
    serving = asyncio.create_task(server._serve())  # `serve` would take the signals
    try:
        pause = tasks.PAUSES_S[0]
        while not stop.is_set():
            try:
                await unless_stopped(
                    stop,
                    application.bot.set_webhook(
                        url, secret_token=secret, allowed_updates=UPDATE_KINDS
                    ),
                )
                break
            except (InvalidToken, EndPointNotFound) as error:
                with suppress(NetworkError):
                    if not await knows_token(application.bot):
                        raise BotError(UNKNOWN_BOT) from error
                    advice = "Leave out --webhook: then updates are fetched."
                    unknown = UNKNOWN_METHOD.format(method="setWebhook", advice=advice)
                    raise BotError(unknown) from error
                pause = await wait_or_stop(stop, pause)
            except BadRequest as error:
                raise BotError(
                    f"Telegram does not take {url} for webhooks: {error.message}. It wants an "
                    "https address, on port 443, 80, 88 or 8443."
                ) from error
            except NetworkError as error:
                logger.warning("The webhook cannot be set: %s", error)
                pause = await wait_or_stop(stop, pause)
        if not stop.is_set():
            start(application.bot_data, trial.run())
            ready()
        await _watch(application, stop, url)
    finally:
        server.should_exit = True
        await serving


def _application(take: Callable[[Request], Awaitable[Response]]) -> Starlette:
    """Return what answers on the webhook's port."""
    return Starlette(
        # A path of a route could not hold braces, and is compared before it is decoded; and with
        # this one no request is redirected to http://.
        routes=[Route("/{anything:path}", take, methods=["POST"])],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(
                BodyLimit,
                limits=BodyLimits(bodies=_UPDATES, held_bytes=_UPDATES * _MAX_UPDATE_BYTES),
                rule_of=lambda _: BodyRule(_MAX_UPDATE_BYTES),
            ),
        ],
    )


class Trial:
    """One request to the webhook's public address, to see whether it leads here.

    Args:
        url: The address.
        transport: What carries the request; None: the network.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._path = unquote(urlsplit(url).path) or "/"
        # Not the secret: the address may lead to somebody else.
        self._mark = secrets.token_hex(16)
        self._arrived = False

    def is_for(self, request: Request) -> bool:
        """Whether a request came to the address, however a proxy spells its path."""
        return bool(request.scope["path"] == self._path)

    def is_sent_by(self, request: Request) -> bool:
        """Whether a request is the one of this trial; it is noted when it came to the address."""
        mark = request.headers.get(_TRIAL_HEADER, "")
        if not hmac.compare_digest(mark.encode(), self._mark.encode()):
            return False
        self._arrived = self._arrived or self.is_for(request)
        return True

    async def run(self) -> None:
        """Send the request. Where it does not arrive, the log says so."""
        why = "it was answered by something else"
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=_TRIAL_S) as client:
                response = await client.post(self._url, headers={_TRIAL_HEADER: self._mark})
            why = f"status {response.status_code}"
        except Exception as error:  # noqa: BLE001  # a trial; no updates depend on it
            why = type(error).__name__
        if not self._arrived:
            logger.warning(
                "A request to %s did not arrive here (%s). Unless only this machine cannot reach "
                "its own address, no updates will come: see that the proxy there passes POST "
                "requests on to --host and --port with the path as it is.",
                self._url,
                why,
            )


async def _watch(application: BotApplication, stop: asyncio.Event, url: str) -> None:
    """Wait until told to stop; see now and then whether Telegram still sends updates here.

    Raises:
        BotError: It does not.
    """
    known = ""
    while not stop.is_set():
        try:
            told = await unless_stopped(stop, application.bot.get_webhook_info())
        except (InvalidToken, EndPointNotFound) as error:
            with suppress(NetworkError):
                if not await knows_token(application.bot):
                    raise BotError(UNKNOWN_BOT) from error
        except TelegramError as error:
            logger.warning("Telegram does not tell where it sends updates: %s", error)
        else:
            if told is None:
                return
            # It may spell the address in another way than it was given.
            known = known or told.url
            if not told.url or told.url != known:
                raise BotError(
                    f"Telegram no longer sends the updates of this bot to {url}: another program "
                    "took them, by polling or with another address. Stop one of the two."
                )
        await wait_or_stop(stop, _WATCH_S)


def _webhook_secret(state: BotState) -> str:
    """What Telegram is to send with each update, so that nobody else can send one.

    Raises:
        BotError: Telegram would not take it.
    """
    settings = state.settings
    if settings.telegram_webhook_secret is not None:
        secret = settings.telegram_webhook_secret.get_secret_value()
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise BotError(
                "TENSIGHT_TELEGRAM_WEBHOOK_SECRET must be 1 to 256 characters, each a letter, a "
                "digit, _ or -."
            )
        return secret
    return hmac.new(state.key, b"webhook", hashlib.sha256).hexdigest()
