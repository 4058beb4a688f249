"""What operators do from chat: look at the system, bring models, promote and roll them back."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import mmap
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from telegram import CallbackQuery, Message, Update
from telegram.constants import ChatType, MessageLimit
from telegram.error import TelegramError
from telegram.ext import CallbackQueryHandler, CommandHandler, filters

from bot import replies
from bot.alarms import operator_language
from bot.guards import state_of
from bot.state import BotApplication, BotContext, BotState
from bot.tasks import run_in_daemon_thread, start
from core import __version__, locale
from core.bundle.folder import BUNDLED
from core.errors import BundleError, ModelNotFoundError, PredictorError, StoreError, TenSightError
from core.locale import Language
from core.serving.local import LocalPredictor
from core.store.audit import AuditEntry
from core.store.feedback_export import feedback_stats
from core.system import peak_memory_bytes

__all__ = ["COMMANDS", "add_handlers", "end_acts"]

COMMANDS = ("status", "models", "pull", "promote", "rollback", "feedback", "maintenance", "audit")
"""What operators may say, beside what everybody may."""

_CONFIRM_S = 300.0
_LAST_ACTS = 20
# What is still said while the bot ends.
_LAST_WORD_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """What came of an act: a text of `locale.bot_texts` by its key, and what is put into it.

    `also` is the key of a text that follows on a line of its own.
    """

    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    also: str | None = None

    def text(self, language: Language) -> str:
        """It in words."""
        words = locale.bot_texts(language)
        text = words[self.key].format(**self.values)
        return text if self.also is None else f"{text}\n{words[self.also]}"


@dataclass(frozen=True)
class _Pending:
    """What an operator was asked to confirm."""

    operator: int
    act: str
    do: Callable[[], _Outcome]
    until: float


def add_handlers(application: BotApplication) -> None:
    """The operators' commands, heard from them alone, in private; before everybody's."""
    state = application.bot_data["state"]
    if not state.settings.operators:
        return
    theirs = (
        filters.UpdateType.MESSAGE
        & filters.ChatType.PRIVATE
        & filters.User(list(state.settings.operators))
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


async def _status(update: Update, context: BotContext) -> None:
    state = state_of(context)
    photos, median, p95, errors = state.hour.figures()
    language: Language = "en"
    try:
        language = await state.language(update)
        on = await state.maintenance()
        words = locale.bot_texts(language)
        maintenance, availability = words["on" if on else "off"], words["status_answers"]
    except StoreError as error:
        words = locale.bot_texts(language)
        maintenance, availability = "?", str(error)
    try:
        models = "\n".join(f"{e.config.name} {e.revision}" for e in await state.results())
    except TenSightError as error:
        models = words["status_models"].format(error=_in_words(error, language))
    predictor, queue = state.predictor, words["status_elsewhere"]
    if isinstance(predictor, LocalPredictor):
        queue = words["status_queue"].format(n=predictor.waiting)
    inbox = context.bot_data.get("inbox")
    text = words["status"].format(
        version=__version__,
        since=datetime.fromtimestamp(state.since, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        models=models,
        queue=queue,
        inbox=inbox.waiting if inbox is not None else 0,
        photos=photos,
        median=f"{median:.2f}",
        p95=f"{p95:.2f}",
        errors=errors,
        memory=f"{_resident() / 2**20:.0f}",
        database="PostgreSQL" if state.settings.database_url is not None else "SQLite",
        state=availability,
        maintenance=maintenance,
    )
    await _say(update, text)


def _in_words(error: TenSightError, language: Language) -> str:
    """An error for an operator: in words that visitors know, too, where those say what is wrong.

    Of most errors that operators meet, visitors are told only that something went wrong.
    """
    if language == "en" or not isinstance(error, PredictorError):
        return str(error)
    return f"{locale.format_error(error, language)} ({error})"


async def _models(update: Update, context: BotContext) -> None:
    state = state_of(context)
    words = locale.bot_texts(await state.language(update))
    lines = []
    for result in await state.results():
        figures = result.metrics
        lines.append(
            f"{result.config.name} {result.revision}: {figures.test.accuracy:.4f}, "
            f"{figures.milliseconds:.1f} ms"
        )
    there = await asyncio.to_thread(state.releases.installed)
    if there:
        lines += ["", words["models_here"]]
    for each in there:
        model, revision = each.bundle.config.name, each.bundle.revision
        lines.append(words["models_since"].format(model=model, revision=revision, date=each.date))
    await _say(update, "\n".join(lines))


async def _pull(update: Update, context: BotContext) -> None:
    """Nothing answers with what is pulled, so nothing is to be confirmed."""
    state, arguments = state_of(context), context.args or []
    revision = arguments[0] if arguments else None
    act = f"pull {revision or state.settings.hub_revision}"
    await _say(update, f"{act} ...")

    def do() -> _Outcome:
        pulled = state.releases.pull(revision=revision)
        revisions = (f"{each.bundle.config.name} {each.bundle.revision}" for each in pulled)
        return _Outcome("pull_done", {"revisions": "\n".join(revisions)})

    async def work() -> None:
        try:
            outcome = await _act(state, update, act, do)
        except asyncio.CancelledError:
            words = locale.bot_texts(await state.language(update))
            with suppress(TelegramError, TimeoutError):
                async with asyncio.timeout(_LAST_WORD_S):
                    await _say(update, words["act_broken_off"].format(act=act))
            raise
        with suppress(TelegramError):
            await _say(update, outcome)

    # It takes minutes; what else the operator asks for does not wait for it.
    start(context.bot_data, work())


async def _promote(update: Update, context: BotContext) -> None:
    state, arguments = state_of(context), context.args or []
    words = locale.bot_texts(await state.language(update))
    if len(arguments) != 2:
        await _say(update, words["promote_how"])
        return
    name, begin = arguments

    def resolve() -> str:
        return state.releases.resolve_revision(name, begin)

    try:
        revision = await run_in_daemon_thread(resolve)
    except (BundleError, ModelNotFoundError) as error:
        await _say(update, words["act_refused"].format(error=error))
        return

    def do() -> _Outcome:
        made_live = state.releases.promote(name, revision)
        return _made_live(state, "promote_done", {"model": name, "revision": made_live})

    row = (await asyncio.to_thread(state.store.live.all)).get(name)
    act, live = f"promote {name} {revision}", row.revision if row is not None else BUNDLED
    await _ask(update, context, act, do, words["promote_asked"].format(act=act, live=live))


async def _rollback(update: Update, context: BotContext) -> None:
    state, arguments = state_of(context), context.args or []
    words = locale.bot_texts(await state.language(update))
    if len(arguments) != 1:
        await _say(update, words["rollback_how"])
        return
    (name,) = arguments
    row = (await asyncio.to_thread(state.store.live.all)).get(name)
    if row is None or row.last_good is None:
        await _say(update, words["rollback_none"].format(model=name))
        return

    def do() -> _Outcome:
        now = state.releases.roll_back(name, seen=row)
        values = {"model": name, "revision": now.revision, "before": now.last_good}
        return _made_live(state, "rollback_done", values)

    act = f"rollback {name}"
    shown = words["rollback_asked"].format(act=act, live=row.revision, to=row.last_good)
    await _ask(update, context, act, do, shown)


def _made_live(state: BotState, key: str, values: Mapping[str, object]) -> _Outcome:
    """What is live in this bot's database; a service that answers for it may have another."""
    here = isinstance(state.predictor, LocalPredictor)
    return _Outcome(key, values, None if here else "live_elsewhere")


async def _maintenance(update: Update, context: BotContext) -> None:
    state, arguments = state_of(context), context.args or []
    if arguments not in (["on"], ["off"]):
        await _say(update, locale.bot_texts(await state.language(update))["maintenance_how"])
        return
    (wanted,) = arguments

    def do() -> _Outcome:
        state.store.flags.set("maintenance", on=wanted == "on")
        return _Outcome(f"maintenance_{wanted}")

    await _ask(update, context, f"maintenance {wanted}", do)


async def _feedback(update: Update, context: BotContext) -> None:

    state, message = state_of(context), update.effective_message
    rows = await asyncio.to_thread(feedback_stats, state.settings)
    await asyncio.to_thread(
        state.store.audit.record, _who(state, update), "feedback", f"{len(rows)} rows"
    )
    words = locale.bot_texts(await state.language(update))
    if message is None:
        return
    if not rows:
        await _say(update, words["feedback_none"])
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    shown = "\n".join(
        words["feedback_row"].format(**{**r, "low": f"{r['low']:.2f}", "high": f"{r['high']:.2f}"})
        for r in rows
    )
    caption = shown[: MessageLimit.CAPTION_LENGTH]
    await message.reply_document(text.getvalue().encode(), filename="feedback.csv", caption=caption)


async def _audit(update: Update, context: BotContext) -> None:
    state = state_of(context)
    acts = await asyncio.to_thread(state.store.audit.recent, _LAST_ACTS)
    lines = [f"{act.at:%Y-%m-%d %H:%M} {act.operator[:8]} {act.act}: {act.outcome}" for act in acts]
    none = locale.bot_texts(await state.language(update))["audit_none"]
    await _say(update, "\n".join(lines) or none)


async def _ask(
    update: Update,
    context: BotContext,
    act: str,
    do: Callable[[], _Outcome],
    shown: str | None = None,
) -> None:
    """Ask whether to do what changes what users get; `shown` says more of it than the act does."""
    user, message = update.effective_user, update.effective_message
    if user is None or message is None:
        return
    language = await state_of(context).language(update)
    pending: dict[str, _Pending] = context.bot_data.setdefault("pending", {})
    now = monotonic()
    for key in [key for key, each in pending.items() if each.until < now]:
        del pending[key]
    key = secrets.token_urlsafe(8)
    pending[key] = _Pending(user.id, act, do, now + _CONFIRM_S)
    text = locale.bot_texts(language)["confirm"].format(act=shown or act)
    await message.reply_text(text, reply_markup=replies.confirm_buttons(key, language))


async def _confirmed(update: Update, context: BotContext) -> None:
    query = update.callback_query
    if query is None or query.data is None:
        return
    state, chat = state_of(context), update.effective_chat
    words = locale.bot_texts(await state.language(update))
    theirs = query.from_user.id in state.settings.operators
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
        await asyncio.to_thread(
            state.store.audit.record, _who(state, update), asked.act, "cancelled"
        )
        await _put(query, words["cancelled"])
    else:
        done[key] = await _act(state, update, asked.act, asked.do)
        await _put(query, done[key])


async def _act(state: BotState, update: Update, act: str, do: Callable[[], _Outcome]) -> str:
    """Do something, and keep who did it and what came of it: that it was begun, too.

    Returns:
        What came of it, in words.
    """
    who, language = _who(state, update), await state.language(update)
    number = await asyncio.to_thread(state.store.audit.begin, update.get_bot().id, who, act)
    try:
        outcome = await run_in_daemon_thread(do)
    except asyncio.CancelledError:
        await _keep(state, number, act, _Outcome("act_broken_off", {"act": act}))
        raise
    except TenSightError as error:
        outcome = _Outcome("act_refused", {"error": error})
    except Exception as error:
        logger.exception("%s failed", act)
        outcome = _Outcome("act_failed", {"kind": type(error).__name__})
    await _keep(state, number, act, outcome)
    return outcome.text(language)


async def _keep(state: BotState, number: int, act: str, outcome: _Outcome) -> None:
    """Put into the audit what came of an act: in one language, whoever did it."""
    text = outcome.text("en")
    try:
        await asyncio.to_thread(state.store.audit.finish, number, text)
    except TenSightError:
        logger.exception("%s: %s; this is not in the audit", act, text)


async def end_acts(application: BotApplication) -> None:
    """Put into the audit what a killed process of this bot had begun, and tell who began it.

    Only once no other process of this bot runs; the second time it does nothing, since what runs by
    then is of this one.

    Raises:
        StoreError: The database cannot be used.
    """
    if application.bot_data.get("ended_acts", False):
        return
    state = application.bot_data["state"]

    def outcome(act: str) -> str:
        return _Outcome("act_lost", {"act": act}).text("en")

    lost = await asyncio.to_thread(state.store.audit.finish_all, application.bot.id, outcome)
    application.bot_data["ended_acts"] = True
    # Apart: who waits for an answer to a photo does not wait for this.
    start(application.bot_data, _tell_of_lost(application, lost))


async def _tell_of_lost(application: BotApplication, acts: Sequence[AuditEntry]) -> None:
    state = application.bot_data["state"]
    for operator in state.settings.operators:
        for act in acts:
            if act.operator == state.person(operator):
                words = locale.bot_texts(await operator_language(state, operator))
                with suppress(TelegramError):
                    text = words["act_lost"].format(act=act.act)
                    await application.bot.send_message(operator, text)


def _who(state: BotState, update: Update) -> str:
    user = update.effective_user
    return state.person(user.id if user is not None else None) or ""


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
        return int(status.read_text("ascii").split()[1]) * mmap.PAGESIZE
    return peak_memory_bytes()
