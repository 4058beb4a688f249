"""The bot: takes updates from Telegram, and answers what is in its inbox."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
import re
import secrets
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvicorn
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from telegram import BotCommand, BotCommandScopeChat, Update
from telegram.constants import BotDescriptionLimit
from telegram.error import (
    BadRequest,
    Conflict,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    NetworkError,
    TelegramError,
)
from telegram.ext import Application, ContextTypes
from telegram.request import HTTPXRequest

from bot import handlers, logs, operator, replies
from bot.desk import App, Context, Desk, is_away, key_of
from bot.inbox import Inbox, Later, album_of
from bot.limits import Limits
from core import locale
from core.errors import BotError, PredictorError, StoreError, TenSightError
from core.serving.predictor import Predictor
from core.settings import Settings
from core.sockets import probe
from core.store.store import Store

__all__ = ["build_application", "run", "serve"]

_OURS = Path(__file__).resolve().parent.parent
_UPDATES = ("message", "callback_query")
# Seconds: how long Telegram holds a request for updates; pauses while it is away.
_POLL_S = 30
_PAUSES_S = (1.0, 60.0)
_STOP_S = 20.0
_READ_S = 60.0
_HANG_UP_S = 3
# An old poll of this bot may hang on for a moment after a restart. Of two programs, the newcomer
# gives up first.
_CONFLICTS, _CONFLICTS_OF_OLD, _OLD_S = 5, 60, 60.0
# Seconds between looks at whether Telegram still sends updates here.
_WATCH_S = 300.0
_CLEAN_S = 3600.0
# Of a database that fails: what passes sooner is no alarm.
_LONG_S = 60.0
# An answer that comes later is of no use any more.
_GIVE_UP = timedelta(days=1)
# Updates in memory; what is more stays with Telegram.
_MOST_WAITING = 20_000
_COMMANDS = (
    *("start", "help", "model", "compare", "explain", "what", "stats", "language", "privacy"),
    *("forget", "whoami"),
)

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class Figures:
    """What Prometheus is told of the bot."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.updates = Counter(
            "tensight_bot_updates",
            "Updates by what came of them: done, failed, or to be tried again later.",
            ["outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tensight_bot_update_seconds",
            "From the moment that an update was taken to its answer.",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "tensight_bot_inbox", "Updates without an answer.", registry=self.registry
        )

    @contextmanager
    def told_on(self, port: int | None) -> Iterator[None]:
        """Tell them on a port of 127.0.0.1 meanwhile; None: on none.

        Raises:
            ListenError: The port cannot be listened on.
        """
        if port is None:
            yield
            return
        probe("127.0.0.1", port)
        server, thread = start_http_server(port, "127.0.0.1", self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def build_application(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    *,
    limits: Limits | None = None,
) -> App:
    """The bot's handlers, on a bot of the token of the settings; not yet running.

    Args:
        settings: `telegram_…`, `operators` and others.
        predictor: Who answers.
        store: What is kept.
        limits: How fast it may talk; None: as fast as Telegram allows.

    Raises:
        BotError: There is no token, or it is none.
    """
    if settings.telegram_token is None:
        raise BotError(
            "TENSIGHT_TELEGRAM_TOKEN is not set. @BotFather on Telegram makes a bot and tells its "
            "token."
        )
    token, proxy = settings.telegram_token.get_secret_value(), settings.telegram_proxy

    if settings.database_url is not None and settings.secret is None:
        raise BotError(
            "TENSIGHT_SECRET is not set. With a database elsewhere, the hashes that stand for "
            "persons must not change with the machine: set it once, and never change it."
        )
    try:
        request = HTTPXRequest(
            connection_pool_size=64,
            pool_timeout=60.0,
            # After a time-out nobody knows whether a message was sent; it is sent again.
            read_timeout=_READ_S,
            proxy=proxy.get_secret_value() if proxy is not None else None,
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise BotError(
            "TENSIGHT_TELEGRAM_PROXY is no proxy that can be used; it looks like "
            "http://user:password@host:port."
        ) from error
    try:
        application: App = (
            Application.builder()
            .token(token)
            .base_url(settings.telegram_api_url)
            .base_file_url(settings.telegram_file_url)
            .request(request)
            .rate_limiter(limits or Limits())
            .context_types(ContextTypes())
            .updater(None)
            .build()
        )
    except InvalidToken as error:
        raise BotError(_UNKNOWN) from error
    desk = Desk(settings, predictor, store, key_of(settings))
    application.bot_data |= {
        "desk": desk,
        "alarms": operator.Alarms(settings.operators),
        "failed": {},
        "tasks": set(),
    }
    # The first that fits handles an update: those of operators stand before "no such command".
    operator.add_handlers(application)
    handlers.add_handlers(application)
    application.add_error_handler(_failed)
    return application


_UNKNOWN = (
    "Telegram does not know the token in TENSIGHT_TELEGRAM_TOKEN. @BotFather tells the right one. "
    "Where TENSIGHT_TELEGRAM_API_URL is set, look at that too."
)


async def _failed(update: object, context: Context) -> None:
    """Remember an error for whoever handed the update over."""
    if isinstance(update, Update) and context.error is not None:
        context.bot_data["failed"][update.update_id] = context.error


async def _handle(application: App, updates: Sequence[Update]) -> bool:
    """Answer updates, as `Inbox` asks for; False where it cannot be done, and operators heard."""
    try:
        if album_of(updates[0]) is not None:
            context: Context = application.context_types.context.from_update(
                updates[0], application
            )
            await handlers.album(updates, context)
        else:
            (update,) = updates
            await application.process_update(update)
            error = application.bot_data["failed"].pop(update.update_id, None)
            if error is not None:
                raise error
    except Later as later:
        message, away = updates[0].message, later.__cause__
        sent_at = datetime.now(UTC) if message is None else message.date
        if not isinstance(away, PredictorError) or sent_at > datetime.now(UTC) - _GIVE_UP:
            raise
        await _alarm(application, updates[0], away)
        return False
    except StoreError as error:
        _database_fails(application)
        raise Later(str(error)) from error
    except PredictorError as error:
        if not is_away(error):
            await _alarm(application, updates[0], error)
            return False
        raise Later(str(error)) from error
    except Forbidden:
        pass  # Who asked has blocked the bot, or thrown it out.
    except (InvalidToken, EndPointNotFound) as error:
        # The token was taken back; with a new one of the same bot it is answered.
        application.bot_data["revoked"].set()
        raise Later(str(error)) from error
    except NetworkError as error:
        if not isinstance(error, BadRequest):
            raise Later(f"Telegram is away: {error}") from error
        await _alarm(application, updates[0], error)
        return False
    except Exception as error:  # noqa: BLE001  # the edge of the process: operators hear of it
        await _alarm(application, updates[0], error)
        return False
    return True


async def _alarm(application: App, update: Update, error: BaseException) -> None:
    """Log an error under a reference, tell the operators, and say sorry.

    Raises:
        Later: It cannot be said now; once it can, the error may be gone.
    """
    reference = secrets.token_hex(4)
    logger.error("%s: an update failed", reference, exc_info=error)
    kind, where = type(error).__name__, ""
    trace = error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(_OURS) or not where:
            where = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    alarms: operator.Alarms = application.bot_data["alarms"]
    # Not its text: that may hold what somebody wrote.
    values = {"kind": kind, "where": where, "reference": reference}
    telling = alarms.tell(application, f"{kind} {where}", "alarm", **values)
    # Apart: the operators' turn to be written to is not what this chat waits for.
    operator.start(application.bot_data, telling)
    message, desk = update.message, application.bot_data["desk"]
    if message is None:
        desk.hour.failed(error)
        return
    told = error if isinstance(error, TenSightError) else TenSightError()
    try:
        language = await desk.language(update)
        await message.reply_text(locale.error_words(told, language))
    except StoreError as later:
        raise Later(str(later)) from later
    except TelegramError as refused:
        if isinstance(refused, NetworkError) and not isinstance(refused, BadRequest):
            raise Later(f"Telegram is away: {refused}") from refused
        logger.warning("Nobody can be told that an update failed: %s", refused)
    desk.hour.failed(error)


def _database_fails(application: App) -> None:
    """Tell the operators of a database that has not worked for a while."""
    now = asyncio.get_running_loop().time()
    seconds = now - application.bot_data.setdefault("database_fails_since", now)
    if seconds >= _LONG_S:
        reference = secrets.token_hex(4)
        logger.error("%s: the database has not been usable for %.0f s", reference, seconds)
        alarms: operator.Alarms = application.bot_data["alarms"]
        values = {"seconds": f"{seconds:.0f}", "reference": reference}
        telling = alarms.tell(application, "database", "alarm_database", **values)
        operator.start(application.bot_data, telling)


def _database_works(application: App) -> None:
    application.bot_data.pop("database_fails_since", None)


async def run(
    application: App,
    stop: asyncio.Event,
    *,
    webhook: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8443,
    figures: Figures | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Take and answer updates until told to stop.

    Args:
        application: As `build_application` gives it.
        stop: Set from this event loop; what runs then has 20 s to come to its end.
        webhook: Public https address that Telegram is to send updates to; None: they are fetched.
        host: Address that webhooks are listened for on.
        port: Port of it.
        figures: Hears of every update.
        say: Gets one line, once updates are taken.

    Raises:
        BotError: The token is wrong, or somebody else takes the updates of this bot.
        ListenError: The address cannot be listened on.
        StoreError: The database cannot be used.
    """
    figures = figures or Figures()
    await _initialized(application, stop)
    if stop.is_set():
        return
    desk: Desk = application.bot_data["desk"]

    async def handle(updates: Sequence[Update]) -> None:
        try:
            done = await _handle(application, updates)
        except Later:
            figures.updates.labels("later").inc(len(updates))
            raise
        _database_works(application)
        figures.updates.labels("done" if done else "failed").inc(len(updates))
        figures.seconds.observe(inbox.age(updates[0]))

    async def give_up(updates: Sequence[Update], why: BaseException) -> None:
        await _alarm(application, updates[0], why)
        figures.updates.labels("failed").inc(len(updates))

    inbox = Inbox(desk.store, application.bot, handle, give_up)
    application.bot_data["inbox"] = inbox
    revoked = application.bot_data["revoked"] = asyncio.Event()
    figures.waiting.set_function(lambda: inbox.waiting)
    alarm = _CatalogWarnings(application)
    logging.getLogger("core.registry.catalog").addHandler(alarm)
    cleaning = asyncio.create_task(_clean(desk))
    introducing = asyncio.create_task(_introduce(application))
    # As if told to stop; said below.
    ending = asyncio.create_task(_when(revoked, stop))
    try:
        name = f"@{application.bot.username}"
        if webhook is None:
            await _poll(application, inbox, stop, lambda: say(f"{name} answers"))
        else:
            await operator.end_acts(application)
            await inbox.replay()
            await _listen(
                application, inbox, stop, webhook, host, port, lambda: say(f"{name} answers")
            )
    finally:
        logging.getLogger("core.registry.catalog").removeHandler(alarm)
        await inbox.stop(_STOP_S)
        tasks = {cleaning, introducing, ending, *application.bot_data["tasks"]}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await application.shutdown()
    if revoked.is_set():
        raise BotError(_UNKNOWN)


async def _unless(stop: asyncio.Event, asking: Coroutine[Any, Any, _T]) -> _T | None:
    """What comes of asking Telegram; None where the process is told to stop first."""
    task, stopped = asyncio.create_task(asking), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def _initialized(application: App, stop: asyncio.Event) -> None:
    """Ask Telegram who the bot is, until it tells."""
    pause = _PAUSES_S[0]
    while not stop.is_set():
        try:
            await _unless(stop, application.initialize())
            return
        except InvalidToken as error:
            raise BotError(_UNKNOWN) from error
        except NetworkError as error:
            logger.warning("Telegram cannot be reached: %s", error)
            pause = await _wait(stop, pause)


async def _when(event: asyncio.Event, other: asyncio.Event) -> None:
    """Set an event once another is."""
    await event.wait()
    other.set()


async def _wait(stop: asyncio.Event, pause: float) -> float:
    """Wait, unless told to stop; how long to wait the next time."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), pause)
    return min(2 * pause, _PAUSES_S[1])


async def _poll(
    application: App, inbox: Inbox, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    bot, offset, pause, conflicts = application.bot, None, _PAUSES_S[0], 0
    clock = asyncio.get_running_loop().time
    since: float | None = None

    def is_old() -> bool:
        return since is not None and clock() - since > _OLD_S

    while not stop.is_set():
        if inbox.waiting > _MOST_WAITING:
            logger.error("%s updates wait for an answer; no more are taken", inbox.waiting)
            pause = await _wait(stop, pause)
            continue
        if since is None:
            # A webhook of before would keep updates away.
            with suppress(TelegramError):
                await _unless(stop, bot.delete_webhook(drop_pending_updates=False))
        # As they come: of `get_updates`, one update that the library cannot read would keep the
        # others away. Telegram does not mind how a method is spelled; spelled as the library's own,
        # it would warn.
        asking = bot.do_api_request(
            "GetUpdates",
            api_kwargs={
                "timeout": 0 if since is None else _POLL_S,
                "allowed_updates": _UPDATES,
                **({} if offset is None else {"offset": offset}),
            },
            read_timeout=_POLL_S + 10,
        )
        try:
            updates = await _unless(stop, asking)
            if updates is None:
                return
            if since is None:
                # Only now: another program that takes the updates would answer these, too.
                await operator.end_acts(application)
                await inbox.replay()
                since = clock()
                ready()
            await inbox.receive(updates)
            if updates:
                _database_works(application)
        except Conflict as error:
            if "webhook" in error.message:
                since = None
                pause = await _wait(stop, pause)
                continue
            conflicts += 1
            if conflicts >= (_CONFLICTS_OF_OLD if is_old() else _CONFLICTS):
                raise BotError(
                    "Another program takes the updates of this bot: of two that poll with one "
                    "token, each would miss some. Stop one of them."
                ) from error
            await _wait(stop, _PAUSES_S[0])
        except (InvalidToken, EndPointNotFound) as error:
            # The second is what the library makes of a token that was taken back.
            raise BotError(_UNKNOWN) from error
        except (TelegramError, TenSightError) as error:
            logger.warning("Updates cannot be taken: %s", error)
            if isinstance(error, StoreError):
                _database_fails(application)
            pause = await _wait(stop, pause)
        else:
            pause = _PAUSES_S[0]
            if is_old():
                # A newcomer counts all of them: between two, it gets some updates.
                conflicts = 0
            # Only now, since this tells Telegram to forget them.
            if updates:
                offset = max(update["update_id"] for update in updates) + 1


async def _listen(
    application: App,
    inbox: Inbox,
    stop: asyncio.Event,
    url: str,
    host: str,
    port: int,
    ready: Callable[[], None],
) -> None:
    desk: Desk = application.bot_data["desk"]
    secret = _webhook_secret(desk)
    if urlsplit(url).scheme != "https":
        raise BotError(f"Telegram sends updates to an address of https alone, not to {url}.")

    async def take(request: Request) -> Response:
        sent = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(sent.encode(), secret.encode()):
            return Response(status_code=403)
        try:
            update = await request.json()
            if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
                return Response(status_code=400)
        except ValueError:
            return Response(status_code=400)
        if inbox.waiting > _MOST_WAITING:
            return Response(status_code=503)
        try:
            await inbox.receive([update])
        except StoreError:
            # Telegram sends it again.
            logger.exception("An update cannot be written down")
            _database_fails(application)
            return Response(status_code=503)
        _database_works(application)
        return Response(status_code=200)

    probe(host, port)
    path = urlsplit(url).path or "/"
    server = uvicorn.Server(
        uvicorn.Config(
            Starlette(routes=[Route(path, take, methods=["POST"])]),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_HANG_UP_S,
        )
    )
    serving = asyncio.create_task(server._serve())  # `serve` would take the signals
    try:
        pause = _PAUSES_S[0]
        while not stop.is_set():
            try:
                await _unless(
                    stop,
                    application.bot.set_webhook(url, secret_token=secret, allowed_updates=_UPDATES),
                )
                break
            except (InvalidToken, EndPointNotFound) as error:
                raise BotError(_UNKNOWN) from error
            except BadRequest as error:
                raise BotError(
                    f"Telegram does not take {url} for webhooks: {error.message}. It wants an "
                    "https address, on port 443, 80, 88 or 8443."
                ) from error
            except NetworkError as error:
                logger.warning("The webhook cannot be set: %s", error)
                pause = await _wait(stop, pause)
        if not stop.is_set():
            ready()
        await _watch(application, stop, url)
    finally:
        server.should_exit = True
        await serving


async def _watch(application: App, stop: asyncio.Event, url: str) -> None:
    """Wait until told to stop; see now and then whether Telegram still sends updates here.

    Raises:
        BotError: It does not.
    """
    known = ""
    while not stop.is_set():
        try:
            told = await _unless(stop, application.bot.get_webhook_info())
        except (InvalidToken, EndPointNotFound) as error:
            raise BotError(_UNKNOWN) from error
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
        await _wait(stop, _WATCH_S)


def _webhook_secret(desk: Desk) -> str:
    """What Telegram is to send with each update, so that nobody else can send one.

    Raises:
        BotError: Telegram would not take it.
    """
    settings = desk.settings
    if settings.telegram_webhook_secret is not None:
        secret = settings.telegram_webhook_secret.get_secret_value()
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise BotError(
                "TENSIGHT_TELEGRAM_WEBHOOK_SECRET must be 1 to 256 characters, each a letter, a "
                "digit, _ or -."
            )
        return secret
    return hmac.new(desk.key, b"webhook", hashlib.sha256).hexdigest()


async def _clean(desk: Desk) -> None:
    """Forget what is older than it is kept."""
    while True:
        before = datetime.now(UTC) - timedelta(days=desk.settings.retention_days)
        try:
            await asyncio.to_thread(desk.store.purge_before, before)
        except TenSightError:
            logger.exception("What is too old cannot be deleted")
        await asyncio.sleep(_CLEAN_S)


async def _introduce(application: App) -> None:
    """Tell Telegram name, texts and commands, in all languages; the bot works without, too."""
    bot, desk = application.bot, application.bot_data["desk"]
    while True:
        try:
            result = await desk.result(await asyncio.to_thread(desk.predictor.default_model))
            break
        except TenSightError as error:
            logger.warning("Telegram is told about the bot later: %s", error)
            await asyncio.sleep(_PAUSES_S[1])
    for language in locale.LANGUAGES:
        words = locale.bot_words(language)
        tag = None if language == "en" else language
        commands = [BotCommand(name, words[f"command_{name}"]) for name in _COMMANDS]
        about = replies.greeting("description", result.config.labels, language)
        about = about[: BotDescriptionLimit.MAX_DESCRIPTION_LENGTH]
        with _without():
            if tuple(commands) != await bot.get_my_commands(language_code=tag):
                await bot.set_my_commands(commands, language_code=tag)
        # Telegram takes few changes of these in a day.
        with _without():
            if (await bot.get_my_name(language_code=tag)).name != words["name"]:
                await bot.set_my_name(words["name"], language_code=tag)
        with _without():
            known = await bot.get_my_short_description(language_code=tag)
            if known.short_description != words["about"]:
                await bot.set_my_short_description(words["about"], language_code=tag)
        with _without():
            if (await bot.get_my_description(language_code=tag)).description != about:
                await bot.set_my_description(about, language_code=tag)
    for each, language in itertools.product(desk.settings.operators, locale.LANGUAGES):
        words, tag = locale.bot_words(language), None if language == "en" else language
        names = (*_COMMANDS, *operator.COMMANDS)
        commands = [BotCommand(name, words[f"command_{name}"]) for name in names]
        scope = BotCommandScopeChat(each)
        with _without():
            known = await bot.get_my_commands(scope=scope, language_code=tag)
            if tuple(commands) != known:
                await bot.set_my_commands(commands, scope=scope, language_code=tag)


@contextmanager
def _without() -> Iterator[None]:
    """Go on without what Telegram does not take."""
    try:
        yield
    except TelegramError as error:
        logger.warning("Telegram was not told all about the bot: %s", error)


class _CatalogWarnings(logging.Handler):
    """Tells the operators what the catalog warns of, as that a live model cannot be loaded."""

    def __init__(self, application: App) -> None:
        super().__init__(logging.WARNING)
        self._application = application
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        text, reference = record.getMessage(), secrets.token_hex(4)
        logger.warning("%s: operators are told: %s", reference, text)
        alarms: operator.Alarms = self._application.bot_data["alarms"]
        values = {"text": text, "reference": reference}
        with suppress(RuntimeError):  # the loop has ended
            asyncio.run_coroutine_threadsafe(
                alarms.tell(self._application, text, "alarm_text", **values), self._loop
            )


def serve(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    *,
    webhook: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8443,
    metrics_port: int | None = None,
    say: Callable[[str], None],
) -> None:
    """Run the bot until the process is told to stop, by Ctrl-C or a signal.

    Args:
        settings: As for `build_application`.
        predictor: As there.
        store: As there.
        webhook: As for `run`.
        host: As there.
        port: As there.
        metrics_port: Port of 127.0.0.1 to tell Prometheus on; None: it is not told.
        say: As for `run`.

    Raises:
        BotError, ListenError, StoreError: As in `run`.
    """

    async def until_told() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        figures = Figures()
        application = prepare(settings, predictor, store)
        with figures.told_on(metrics_port):
            await run(
                application, stop, webhook=webhook, host=host, port=port, figures=figures, say=say
            )

    asyncio.run(until_told())


def prepare(settings: Settings, predictor: Predictor, store: Store) -> App:
    """`build_application`, with the token kept out of the log.

    Raises:
        BotError: As in `build_application`.
    """
    # Before anything of the library runs: at DEBUG it tells the addresses that it is given.
    hidden = (settings.telegram_token, settings.telegram_proxy, settings.telegram_webhook_secret)
    logs.hide(*(each.get_secret_value() for each in hidden if each is not None))
    return build_application(settings, predictor, store)
