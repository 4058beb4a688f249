"""Operators' commands about the taught models of chats and visitors: taught and publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from telegram import Bot, Update
from telegram.error import TelegramError

from bot.alarms import operator_language
from bot.chat_wording import reword_for_chat
from bot.confirmations import ask_to_confirm
from bot.outcome import Outcome, live_outcome
from bot.sending import reply
from bot.state import BotContext, BotState
from bot.taught_models import HeldModel
from bot.taught_notices import chats_among, tell_chats
from bot.teaching_texts import listed
from core import locale
from core.errors import ModelNotFoundError, TeachingError
from core.locale import Language
from core.registry.taught import TaughtRecord
from core.store.confirmations import PendingCommand
from core.teaching.limits import check_model_name

__all__ = ["HANDLERS", "announce", "run_confirmed", "summary", "tell_owner"]

_MAX_ROWS = 20


def summary(models: Sequence[HeldModel], texts: Mapping[str, str]) -> str:
    """Format the number of private taught models, and their size."""
    return texts["taught_summary"].format(
        n=len(models),
        owners=len({each.record.owner for each in models}),
        classes=sum(len(each.labels) for each in models),
        photos=sum(each.photos for each in models),
        megabytes=f"{sum(each.bytes for each in models) / 1e6:.1f}",
    )


async def announce(bot: Bot, state: BotState, model: str) -> None:
    """Tell operators that the owner of a model offers it.

    Args:
        bot: The bot.
        state: Its state.
        model: Id of the model.
    """
    held = [each for each in await state.taught.describe_all() if each.record.id == model]
    for operator in state.settings.operators if held else ():
        language = await operator_language(state.store.chats, operator)
        text = locale.bot_texts(language)["taught_offered"]
        with suppress(TelegramError):
            await bot.send_message(
                operator, text.format(row=_row(held[0], language, named=True), code=held[0].code)
            )


async def _taught(update: Update, context: BotContext) -> None:
    """Answer /taught: number and size of the taught models, and those that are offered."""
    state, language = context.bot_data, await context.language()
    texts, held = locale.bot_texts(language), await state.taught.describe_all()
    held = sorted(held, key=lambda each: not _may_publish(context, each.record))
    rows = [
        _row(each, language, named=_may_publish(context, each.record)) for each in held[:_MAX_ROWS]
    ]
    if len(held) > _MAX_ROWS:
        rows.append(texts["others"].format(n=len(held) - _MAX_ROWS))
    limit = texts["taught_limit"].format(n=state.settings.chat_models)
    lines = [
        summary(held, texts),
        limit,
        *(["", *rows] if rows else []),
        "",
        texts["publish_usage"],
    ]
    await reply(update.effective_message, "\n".join(lines))


async def _publish(update: Update, context: BotContext) -> None:
    """Answer /publish: ask to confirm that everybody may use a taught model."""
    message, texts, arguments = update.effective_message, await context.texts(), context.args or []
    if len(arguments) != 2:
        await reply(message, texts["publish_usage"])
        return
    code, name = arguments
    state = context.bot_data
    held = _find(await state.taught.describe_all(), code)
    if held is None:
        await reply(message, texts["publish_unknown"])
        return
    if not _may_publish(context, held.record):
        await reply(message, texts["publish_private"])
        return
    taken = {each.config.name for each in await state.models.all() if each.config.base is None}
    try:
        check_model_name(name, taken)
    except TeachingError as error:
        await reply(message, texts["act_refused"].format(error=reword_for_chat(error)))
        return
    command = f"publish {held.code} {name}"
    row = _row(held, await context.language(), named=True)
    expected = {"taught": held.record.revision}
    question = texts["publish_asked"].format(code=held.code, name=name)
    await ask_to_confirm(update, context, command, question, expected=expected, above=row)


def run_confirmed(state: BotState, pending: PendingCommand) -> Outcome:
    """Publish a model, and make it live.

    Raises:
        ModelNotFoundError: It has been deleted or taught again since the question was asked.
        TeachingError, BundleError, OutputError, StoreError: As in `Teaching.publish`,
            `Releases.promote` and `Teaching.mark_published`.
    """
    _, code, name = pending.act.split()
    held = _find(state.taught.describe_now(), code)
    if held is None or held.record.revision != pending.expected.get("taught"):
        raise ModelNotFoundError(
            "This model has been deleted or taught again meanwhile. Send the command again."
        )
    bundle = state.taught.teaching().publish(held.record.id, name)
    revision = state.releases.promote(name, bundle.revision)
    state.taught.teaching().mark_published(held.record.id, name)
    return live_outcome(state, "promote_done", {"model": name, "revision": revision})


async def tell_owner(context: BotContext, pending: PendingCommand) -> None:
    """Tell the chat whose model was published, unless it is the operator's own.

    Visitors read it beside their model on the page.

    Args:
        context: Context of the operator's update.
        pending: The command that was run; nothing happens if it failed.
    """
    _, code, name = pending.act.split()
    state = context.bot_data
    held = _find(await state.taught.describe_all(), code)
    if held is None or held.record.published != name:
        return
    chats = await chats_among(state, (held.record.owner,))
    chats.pop(context.user_id or 0, None)
    await tell_chats(context.bot, chats, "teach_published", title=held.record.title, name=name)


def _find(models: Sequence[HeldModel], code: str) -> HeldModel | None:
    return next((each for each in models if each.code == code.lower()), None)


def _may_publish(context: BotContext, record: TaughtRecord) -> bool:
    """Return whether a model is offered, or was taught in the operator's own chat."""
    user = context.user_id
    return record.offered or (user is not None and context.bot_data.taught.is_own(user, record))


def _row(model: HeldModel, language: Language, *, named: bool) -> str:
    """Format a model for operators; names only where its owner shows them."""
    texts, metrics = locale.bot_texts(language), model.metrics
    return texts["taught_row" if named else "taught_row_private"].format(
        code=model.code,
        title=model.record.title,
        names=listed(model.labels, texts),
        classes=len(model.labels),
        photos=model.photos,
        percent="?" if metrics is None else f"{metrics.accuracy.share:.0%}",
        kilobytes=f"{model.bytes / 1e3:.0f}",
    )


HANDLERS = {"taught": _taught, "publish": _publish}
