"""What operators do from chat: look at the system, bring models, promote and roll them back."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import resource
import secrets
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from telegram import CallbackQuery, Message, Update
from telegram.constants import ChatType, MessageLimit
from telegram.error import TelegramError
from telegram.ext import CallbackQueryHandler, CommandHandler, filters

from bot import replies
from bot.desk import App, Context, Desk
from bot.handlers import desk_of
from core import __version__, locale
from core.errors import TenSightError
from core.predictor import LocalPredictor
from core.revisions import Revisions

__all__ = ["Alarms", "add_handlers", "start"]

_CONFIRM_S = 300.0
_LAST_ACTS = 20
_AN_HOUR_S = 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pending:
    """What an operator was asked to confirm."""

    operator: int
    act: str
    do: Callable[[], str]
    until: float


def add_handlers(application: App) -> None:
    """The operators' commands, heard from them alone, in private; before everybody's."""
    desk = application.bot_data["desk"]
    if not desk.settings.operators:
        return
    theirs = (
        filters.UpdateType.MESSAGE
        & filters.ChatType.PRIVATE
        & filters.User(list(desk.settings.operators))
    )
    for name, handler in {
        "status": _status,
        "models": _models,
        "pull": _pull,
        "promote": _promote,
        "rollback": _rollback,
        "feedback": _feedback,
        "maintenance": _maintenance,
        "audit": _audit,
    }.items():
        application.add_handler(CommandHandler(name, handler, filters=theirs))
    application.add_handler(CallbackQueryHandler(_confirmed, pattern=r"^(do|drop):"))


async def _status(update: Update, context: Context) -> None:
    desk = desk_of(context)
    photos, median, p95, errors = desk.hour.figures()
    since = datetime.fromtimestamp(desk.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"TenSight {__version__}, up since {since}"]
    try:
        lines += [f"{each.config.name} {each.revision}" for each in await desk.results()]
    except TenSightError as error:
        lines.append(f"models: {error}")
    predictor = desk.predictor
    queue = f"{predictor.waiting} photos" if isinstance(predictor, LocalPredictor) else "elsewhere"
    database = "PostgreSQL" if desk.settings.database_url is not None else "SQLite"
    try:
        maintenance = "on" if await desk.maintenance() else "off"
        state = "answers"
    except TenSightError as error:
        maintenance, state = "?", str(error)
    inbox = context.bot_data.get("inbox")
    lines += [
        f"queue: {queue}; inbox: {inbox.waiting if inbox is not None else 0} updates",
        f"last hour: {photos} photos, p50 {median:.2f} s, p95 {p95:.2f} s, {errors} errors",
        f"memory: {_resident() / 2**20:.0f} MB",
        f"database: {database}, {state}",
        f"maintenance: {maintenance}",
    ]
    await _say(update, "\n".join(lines))


async def _models(update: Update, context: Context) -> None:
    desk = desk_of(context)
    lines = []
    for result in await desk.results():
        figures = result.metrics
        lines.append(
            f"{result.config.name} {result.revision}: {figures.test.accuracy:.4f}, "
            f"{figures.milliseconds:.1f} ms"
        )
    there = await asyncio.to_thread(lambda: Revisions(desk.settings.home).all())
    if there:
        lines += ["", "Here, for /promote:"]
        lines += [f"{e.bundle.config.name} {e.bundle.revision}, since {e.date}" for e in there]
    await _say(update, "\n".join(lines))


async def _pull(update: Update, context: Context) -> None:
    """Nothing answers with what is pulled, so nothing is to be confirmed."""
    desk, arguments = desk_of(context), context.args or []
    revision = arguments[0] if arguments else None
    act = f"pull {revision or desk.settings.hub_revision}"
    await _say(update, f"{act} ...")

    def do() -> str:
        from core import releases  # noqa: PLC0415  # the Hub's client takes a while to import

        pulled = releases.pull(desk.settings, revision=revision)
        return "\n".join(f"{each.bundle.config.name} {each.bundle.revision}" for each in pulled)

    async def work() -> None:
        outcome = await _act(desk, update, act, do)
        with suppress(TelegramError):
            await _say(update, outcome)

    # It takes minutes; what else the operator asks for does not wait for it.
    start(context.bot_data, work())


def start(bot_data: dict[Any, Any], work: Coroutine[Any, Any, None]) -> None:
    """Do something that nothing waits for; it ends with the application at the latest."""
    tasks: set[asyncio.Task[None]] = bot_data["tasks"]
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _promote(update: Update, context: Context) -> None:
    desk, arguments = desk_of(context), context.args or []
    if len(arguments) != 2:
        await _say(update, "/promote MODEL REVISION; /models shows which there are.")
        return
    name, revision = arguments

    def do() -> str:
        from core import releases  # noqa: PLC0415  # as above

        return f"{name} {releases.promote(desk.settings, name, revision)} is live"

    await _ask(update, context, f"promote {name} {revision}", do)


async def _rollback(update: Update, context: Context) -> None:
    desk, arguments = desk_of(context), context.args or []
    if len(arguments) != 1:
        await _say(update, "/rollback MODEL; /models shows which there are.")
        return
    (name,) = arguments

    def do() -> str:
        from core import releases  # noqa: PLC0415  # as above

        row = releases.roll_back(desk.settings, name)
        return f"{name} {row.revision} is live, no longer {row.last_good}"

    await _ask(update, context, f"rollback {name}", do)


async def _maintenance(update: Update, context: Context) -> None:
    desk, arguments = desk_of(context), context.args or []
    if arguments not in (["on"], ["off"]):
        await _say(update, "/maintenance on, or /maintenance off")
        return
    on = arguments == ["on"]

    def do() -> str:
        desk.store.turn("maintenance", on=on)
        return f"maintenance is {arguments[0]}"

    await _ask(update, context, f"maintenance {arguments[0]}", do)


async def _feedback(update: Update, context: Context) -> None:
    from core.feedback import in_the_wild  # noqa: PLC0415  # few ask for it

    desk, message = desk_of(context), update.effective_message
    rows = await asyncio.to_thread(in_the_wild, desk.settings)
    await asyncio.to_thread(desk.store.add_act, _who(desk, update), "feedback", f"{len(rows)} rows")
    if message is None:
        return
    if not rows:
        await _say(update, "Nobody has judged an answer yet.")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    shown = "\n".join(
        f"{r['model']} {r['revision']}: {r['right']} of {r['n']} right "
        f"({r['low']:.2f} to {r['high']:.2f})"
        for r in rows
    )
    caption = shown[: MessageLimit.CAPTION_LENGTH]
    await message.reply_document(text.getvalue().encode(), filename="feedback.csv", caption=caption)


async def _audit(update: Update, context: Context) -> None:
    acts = await asyncio.to_thread(desk_of(context).store.acts, _LAST_ACTS)
    lines = [f"{act.at:%Y-%m-%d %H:%M} {act.operator[:8]} {act.act}: {act.outcome}" for act in acts]
    await _say(update, "\n".join(lines) or "Nothing was done yet.")


async def _ask(update: Update, context: Context, act: str, do: Callable[[], str]) -> None:
    """Ask whether to do what changes what users get."""
    user, message = update.effective_user, update.effective_message
    if user is None or message is None:
        return
    language = await desk_of(context).language(update)
    pending: dict[str, _Pending] = context.bot_data.setdefault("pending", {})
    now = monotonic()
    for key in [key for key, each in pending.items() if each.until < now]:
        del pending[key]
    key = secrets.token_urlsafe(8)
    pending[key] = _Pending(user.id, act, do, now + _CONFIRM_S)
    text = locale.bot_words(language)["confirm"].format(act=act)
    await message.reply_text(text, reply_markup=replies.confirm_buttons(key, language))


async def _confirmed(update: Update, context: Context) -> None:
    query = update.callback_query
    if query is None or query.data is None:
        return
    desk, chat = desk_of(context), update.effective_chat
    words = locale.bot_words(await desk.language(update))
    theirs = query.from_user.id in desk.settings.operators
    if not theirs or chat is None or chat.type != ChatType.PRIVATE:
        with suppress(TelegramError):  # a press that is long ago
            await query.answer()  # as any button that is none
        return
    what, _, key = query.data.partition(":")
    pending: dict[str, _Pending] = context.bot_data.setdefault("pending", {})
    asked = pending.get(key)
    if asked is not None and asked.operator != query.from_user.id:
        with suppress(TelegramError):
            await query.answer(words["not_yours"], show_alert=True)
        return
    with suppress(TelegramError):  # a press that is long ago
        await query.answer()
    done: dict[str, str] = context.bot_data.setdefault("done", {})
    pending.pop(key, None)
    if key in done:
        await _put(query, done[key])
    elif asked is None or asked.until < monotonic():
        await _put(query, words["expired"])
    elif what == "drop":
        await asyncio.to_thread(desk.store.add_act, _who(desk, update), asked.act, "cancelled")
        await _put(query, words["cancelled"])
    else:
        done[key] = await _act(desk, update, asked.act, asked.do)
        await _put(query, done[key])


async def _act(desk: Desk, update: Update, act: str, do: Callable[[], str]) -> str:
    """Do something, and keep who did it and what came of it: that it was begun, too."""
    who = _who(desk, update)
    await asyncio.to_thread(desk.store.add_act, who, act, "begun")
    try:
        outcome = await _apart(do)
    except TenSightError as error:
        outcome = f"⚠ {error}"
    except Exception as error:
        logger.exception("%s failed", act)
        outcome = f"⚠ {type(error).__name__}; the log says more."
    try:
        await asyncio.to_thread(desk.store.add_act, who, act, outcome)
    except TenSightError:
        logger.exception("%s: %s; this is not in the audit", act, outcome)
    return outcome


async def _apart(do: Callable[[], str]) -> str:
    """As `asyncio.to_thread`, in a thread that does not hold up the end of the process.

    What operators do may be broken off at any moment: it is done, or not.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def settle(outcome: str | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(outcome or "")

    def work() -> None:
        outcome, failed = None, None
        try:
            outcome = do()
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, outcome, failed)

    threading.Thread(target=work, name="act", daemon=True).start()
    return await future


def _who(desk: Desk, update: Update) -> str:
    user = update.effective_user
    return desk.person(user.id if user is not None else None) or ""


async def _say(update: Update, text: str) -> None:
    if update.effective_message is not None:
        await update.effective_message.reply_text(text[: MessageLimit.MAX_TEXT_LENGTH])


async def _put(query: CallbackQuery, text: str) -> None:
    # Done is done: an update that failed here would be handled again.
    with suppress(TelegramError):
        if isinstance(query.message, Message):
            await query.message.edit_text(text[: MessageLimit.MAX_TEXT_LENGTH])


def _resident() -> int:
    """Bytes of this process that are in memory now."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text("ascii").split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Alarms:
    """Tells operators of what went wrong: once an hour of each kind."""

    def __init__(self, operators: Sequence[int]) -> None:
        self._operators = operators
        self._told: dict[str, float] = {}

    async def tell(self, application: App, kind: str, text: str) -> None:
        """Send a text to each operator, unless they heard of its kind within the hour."""
        now = monotonic()
        self._told = {k: at for k, at in self._told.items() if at > now - _AN_HOUR_S}
        if kind in self._told:
            return
        # Before it is sent: the next of its kind may come meanwhile.
        self._told[kind] = now
        reached = False
        for operator in self._operators:
            try:
                await application.bot.send_message(operator, text)
                reached = True
            except TelegramError as error:
                logger.warning("An operator cannot be told: %s", error)
        if not reached:
            self._told.pop(kind, None)
