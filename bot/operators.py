"""Handlers of operators' commands, and of the buttons that confirm them."""

from __future__ import annotations

import asyncio
import csv
import io
import mmap
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from telegram import CallbackQuery, Message, Update
from telegram.constants import ChatType, MessageLimit
from telegram.error import TelegramError
from telegram.ext import CallbackQueryHandler, CommandHandler, filters

from bot import publishing, rollouts
from bot.chat_wording import reword_for_chat
from bot.confirmations import acknowledge, ask_to_confirm
from bot.digest_sender import choose_digest, show_digest_picture
from bot.evidence import on_rollout_button, show_evidence
from bot.labelling import on_label_button, show_label_queue
from bot.operator_audit import run_command
from bot.outcome import Outcome, live_outcome
from bot.state import BotApplication, BotContext, BotState
from bot.tasks import run_in_daemon_thread
from core import __version__, locale
from core.bundle.folder import BUNDLED
from core.errors import (
    BundleError,
    ChangedError,
    ModelNotFoundError,
    PredictorError,
    StoreError,
    TenSightError,
)
from core.locale import Language
from core.registry.taught import is_private
from core.serving.local import LocalPredictor
from core.store.confirmations import PendingCommand
from core.store.feedback_export import feedback_stats
from core.store.live import LiveRevision, ShownState
from core.system import peak_memory_bytes

__all__ = ["COMMANDS", "add_handlers"]

COMMANDS = (
    *("status", "models", "pull", "promote", "rollback", *rollouts.HANDLERS, "evidence"),
    *publishing.HANDLERS,
    *("feedback", "label", "digest", "maintenance", "audit"),
)
"""Commands of operators, in addition to those that everyone may use."""

_AUDIT_ENTRIES = 20
# Time for a last message while the bot stops.
_LAST_MESSAGE_S = 5.0


def add_handlers(application: BotApplication) -> None:
    """Add the operators' commands, which are answered in their private chats only."""
    operators = application.bot_data.settings.operators
    if not operators:
        return
    from_operators = (
        filters.UpdateType.MESSAGE & filters.ChatType.PRIVATE & filters.User(list(operators))
    )
    for name, handler in {
        "status": _status,
        "models": _models,
        "pull": _pull,
        "promote": _promote,
        "rollback": _rollback,
        **rollouts.HANDLERS,
        "evidence": show_evidence,
        **publishing.HANDLERS,
        "feedback": _feedback,
        "label": show_label_queue,
        "digest": choose_digest,
        "maintenance": _maintenance,
        "audit": _audit,
    }.items():
        application.add_handler(CommandHandler(name, handler, filters=from_operators))
    application.add_handler(CallbackQueryHandler(_on_confirmation, pattern=r"^(do|drop):"))
    application.add_handler(CallbackQueryHandler(on_rollout_button, pattern=r"^(release|end):"))
    application.add_handler(CallbackQueryHandler(on_label_button, pattern=r"^label:"))


async def _status(update: Update, context: BotContext) -> None:
    """Answer /status: the state of the system as text, then a picture of the last day.

    The text is also sent if the database or the predictor is unavailable.
    """
    state, hour = context.bot_data, context.bot_data.hour.summary()
    language: Language = "en"
    try:
        language = await context.language()
        texts = locale.bot_texts(language)
        maintenance = texts["on" if await state.maintenance() else "off"]
        database = texts["status_answers"]
    except StoreError as error:
        texts, maintenance, database = locale.bot_texts(language), "?", str(error)
    try:
        models = await state.models.all()
        listed = "\n".join(f"{model.config.name} {model.revision}" for model in models)
    except TenSightError as error:
        listed = texts["status_models"].format(error=_error_text(error, language))
    queue = texts["status_elsewhere"]
    if isinstance(state.predictor, LocalPredictor):
        queue = texts["status_queue"].format(n=state.predictor.waiting)
    text = texts["status"].format(
        version=__version__,
        since=datetime.fromtimestamp(state.started_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        models=listed,
        queue=queue,
        taught=publishing.summary(await state.taught.describe_all(), texts),
        inbox=state.inbox.waiting,
        photos=hour.photos,
        median=f"{hour.median_s:.2f}",
        p95=f"{hour.p95_s:.2f}",
        errors=hour.errors,
        memory=f"{_resident_bytes() / 2**20:.0f}",
        database="PostgreSQL" if state.settings.database_url is not None else "SQLite",
        state=database,
        maintenance=maintenance,
    )
    await _send(update, text)
    with suppress(StoreError):  # The text reports an unavailable database.
        await show_digest_picture(update, context)


def _error_text(error: TenSightError, language: Language) -> str:
    """Format an error for an operator: in English as it is, otherwise with a translation.

    Most errors that operators meet have no translation: users are told only that something failed.
    """
    if language == "en" or not isinstance(error, PredictorError):
        return reword_for_chat(error)
    return f"{locale.format_error(error, language)} ({reword_for_chat(error)})"


async def _models(update: Update, context: BotContext) -> None:
    """Answer /models: accuracy and latency of the live revisions, and the pulled revisions."""
    state, texts = context.bot_data, await context.texts()
    lines = [
        f"{model.config.name} {model.revision}: {model.metrics.test.accuracy:.4f}, "
        f"{model.metrics.milliseconds:.1f} ms"
        for model in await state.models.all()
    ]
    pulled = await asyncio.to_thread(state.releases.installed)
    if pulled:
        lines += ["", texts["models_here"]]
    for each in pulled:
        model, revision = each.bundle.config.name, each.bundle.revision
        lines.append(texts["models_since"].format(model=model, revision=revision, date=each.date))
    await _send(update, "\n".join(lines))


async def _pull(update: Update, context: BotContext) -> None:
    """Answer /pull: download models from the Hub.

    It needs no confirmation, since nothing answers with a pulled revision until it is promoted.
    """
    state, arguments = context.bot_data, context.args or []
    revision = arguments[0] if arguments else None
    command = f"pull {revision or state.settings.hub_revision}"
    await _send(update, f"{command} ...")

    def pull() -> Outcome:
        pulled = state.releases.pull(revision=revision)
        revisions = (f"{each.bundle.config.name} {each.bundle.revision}" for each in pulled)
        return Outcome("pull_done", {"revisions": "\n".join(revisions)})

    async def work() -> None:
        try:
            outcome = await run_command(context, command, pull)
        except asyncio.CancelledError:
            texts = await context.texts()
            with suppress(TelegramError, TimeoutError):
                async with asyncio.timeout(_LAST_MESSAGE_S):
                    await _send(update, texts["act_broken_off"].format(act=command))
            raise
        with suppress(TelegramError):
            await _send(update, outcome)

    # In the background: it takes minutes, and the operator's other commands do not wait for it.
    state.tasks.start(work())


async def _promote(update: Update, context: BotContext) -> None:
    """Answer /promote: ask to confirm that a revision becomes live."""
    state, arguments, texts = context.bot_data, context.args or [], await context.texts()
    if len(arguments) != 2:
        await _send(update, texts["promote_usage"])
        return
    name, prefix = arguments

    def resolve() -> str:
        return state.releases.resolve_revision(name, prefix)

    try:
        revision = await run_in_daemon_thread(resolve)
    except (BundleError, ModelNotFoundError) as error:
        await _send(update, texts["act_refused"].format(error=reword_for_chat(error)))
        return

    row = (await asyncio.to_thread(state.store.live.all)).get(name)
    live = row.revision if row is not None else BUNDLED
    command = f"promote {name} {revision}"
    question = texts["promote_asked"].format(model=name, revision=revision, live=live)
    await ask_to_confirm(update, context, command, question, expected={"live": live})


async def _rollback(update: Update, context: BotContext) -> None:
    """Answer /rollback: ask to confirm that the last good revision becomes live again."""
    state, arguments, texts = context.bot_data, context.args or [], await context.texts()
    if len(arguments) != 1:
        await _send(update, texts["rollback_usage"])
        return
    (name,) = arguments
    row = (await asyncio.to_thread(state.store.live.all)).get(name)
    if row is None or row.last_good is None:
        await _send(update, texts["rollback_none"].format(model=name))
        return

    command = f"rollback {name}"
    question = texts["rollback_asked"].format(model=name, live=row.revision, to=row.last_good)
    await ask_to_confirm(update, context, command, question, expected=asdict(row))


async def _maintenance(update: Update, context: BotContext) -> None:
    """Answer /maintenance: ask to confirm that maintenance mode is turned on or off."""
    arguments, texts = context.args or [], await context.texts()
    if arguments not in (["on"], ["off"]):
        await _send(update, texts["maintenance_usage"])
        return
    (mode,) = arguments

    question = texts[f"maintenance_{mode}_asked"]
    await ask_to_confirm(update, context, f"maintenance {mode}", question)


async def _feedback(update: Update, context: BotContext) -> None:
    """Answer /feedback: accuracy of each revision by users' feedback, as text and CSV file."""
    state, message, texts = context.bot_data, update.effective_message, await context.texts()
    found = await asyncio.to_thread(feedback_stats, state.settings)
    # Whoever knows the id of a private model may use it.
    rows = [row for row in found if not is_private(row["model"])]
    await asyncio.to_thread(
        state.store.audit.record, context.person or "", "feedback", f"{len(rows)} rows"
    )
    if message is None:
        return
    if not rows:
        await _send(update, texts["feedback_none"])
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    caption = "\n".join(
        texts["feedback_row"].format(
            **{**row, "low": f"{row['low']:.2f}", "high": f"{row['high']:.2f}"}
        )
        for row in rows
    )
    await message.reply_document(
        table.getvalue().encode(),
        filename="feedback.csv",
        caption=caption[: MessageLimit.CAPTION_LENGTH],
    )


async def _audit(update: Update, context: BotContext) -> None:
    """Answer /audit: the latest commands of operators and their outcomes."""
    entries = await asyncio.to_thread(context.bot_data.store.audit.recent, _AUDIT_ENTRIES)
    lines = [
        f"{entry.at:%Y-%m-%d %H:%M} {entry.operator[:8]} {entry.act}: {entry.outcome}"
        for entry in entries
    ]
    await _send(update, "\n".join(lines) or (await context.texts())["audit_none"])


async def _on_confirmation(update: Update, context: BotContext) -> None:
    """Run or cancel a command whose button was pressed by the operator who gave it."""
    query = update.callback_query
    if query is None or query.data is None:
        return
    state, chat, texts = context.bot_data, update.effective_chat, await context.texts()
    if not context.is_operator or chat is None or chat.type != ChatType.PRIVATE:
        await acknowledge(query)
        return
    answer, _, key = query.data.partition(":")
    confirmations = state.store.confirmations
    pending = await asyncio.to_thread(confirmations.get, key)
    if pending is not None and pending.operator != context.person:
        await acknowledge(query, texts["not_yours"])
        return
    await acknowledge(query)
    if pending is not None and pending.result is not None:
        await _replace_text(query, pending.result)
    elif pending is None or not pending.is_valid:
        await _replace_text(query, texts["expired"])
    elif answer == "drop":
        await asyncio.to_thread(
            state.store.audit.record, context.person or "", pending.act, "cancelled"
        )
        await asyncio.to_thread(confirmations.finish, key)
        await _replace_text(query, texts["cancelled"])
    else:
        result = await run_command(context, pending.act, partial(_run_confirmed, state, pending))
        with suppress(StoreError):  # The command has been run, and must not be run again.
            await asyncio.to_thread(confirmations.finish, key, result)
        await _replace_text(query, result)
        if pending.act.startswith("publish "):
            await publishing.tell_owner(context, pending)


def _run_confirmed(state: BotState, pending: PendingCommand) -> Outcome:
    """Run a command that an operator confirmed, unless what they were shown has changed."""
    try:
        return _run(state, pending)
    except ChangedError:
        return rollouts.changed_outcome(state.store, pending)


def _run(state: BotState, pending: PendingCommand) -> Outcome:
    """Run a command; it may have been given to another process.

    Raises:
        ChangedError: What the operator was shown has changed.
        TenSightError: The command failed.
    """
    name, *arguments = pending.act.split()
    if name in rollouts.HANDLERS:
        return rollouts.run_confirmed(state, pending)
    if name == "publish":
        return publishing.run_confirmed(state, pending)
    if name == "promote":
        model, revision = arguments
        promoted = state.releases.promote(model, revision, shown=ShownState(**pending.expected))
        return live_outcome(state, "promote_done", {"model": model, "revision": promoted})
    if name == "rollback":
        (model,) = arguments
        now = state.releases.roll_back(model, expected=LiveRevision(**pending.expected))
        values = {"model": model, "revision": now.revision, "before": now.last_good}
        return live_outcome(state, "rollback_done", values)
    (mode,) = arguments
    state.set_maintenance(on=mode == "on")
    return Outcome(f"maintenance_{mode}")


async def _send(update: Update, text: str) -> None:
    if update.effective_message is not None:
        await update.effective_message.reply_text(text[: MessageLimit.MAX_TEXT_LENGTH])


async def _replace_text(query: CallbackQuery, text: str) -> None:
    # The command has been run: if this failed, the press would be handled again.
    with suppress(TelegramError):
        if isinstance(query.message, Message):
            await query.message.edit_text(text[: MessageLimit.MAX_TEXT_LENGTH])


def _resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text("ascii").split()[1]) * mmap.PAGESIZE
    return peak_memory_bytes()
