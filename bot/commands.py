"""Handlers of the commands that everyone may use."""

from __future__ import annotations

import asyncio

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.constants import ChatType

from bot import replies
from bot.guards import inbox_of, reply, state_of
from bot.replies import privacy_text
from bot.state import BotContext, BotState
from core import locale

__all__ = [
    "choose_language",
    "choose_model",
    "forget",
    "on_migration",
    "show_help",
    "show_privacy",
    "show_stats",
    "whoami",
]


async def show_help(update: Update, context: BotContext) -> None:
    """Answer /help: what the bot can do, and the labels of the chat's model."""
    state = state_of(context)
    language, model = await state.language(update), await state.model(update)
    labels = (await state.result(model)).config.labels
    await reply(update.effective_message, replies.greeting("help", labels, language))


async def choose_model(update: Update, context: BotContext) -> None:
    """Answer /model: one button for each model."""
    state = state_of(context)
    language = await state.language(update)
    text = locale.bot_texts(language)["choose_model"]
    chosen = await state.model(update)
    buttons = replies.model_buttons(await state.selectable(chosen), language, chosen)
    await reply(update.effective_message, text, buttons)


async def choose_language(update: Update, context: BotContext) -> None:
    """Answer /language: one button for each language."""
    language = await state_of(context).language(update)
    buttons = [
        InlineKeyboardButton(
            locale.bot_texts(each)["language_name"], callback_data=f"language::{each}"
        )
        for each in locale.LANGUAGES
    ]
    text = locale.bot_texts(language)["choose_language"]
    await reply(update.effective_message, text, InlineKeyboardMarkup([buttons]))


async def show_stats(update: Update, context: BotContext) -> None:
    """Answer /stats: how many photos a person sent, and how right the models were."""
    state = state_of(context)
    words = locale.bot_texts(await state.language(update))
    user = update.effective_user
    person = state.person(user.id if user is not None else None) or ""
    n, judged, right = await asyncio.to_thread(state.store.chats.user_stats, person)
    lines = [
        words["stats"].format(days=state.settings.retention_days, n=n, judged=judged, right=right)
    ]
    wild = await asyncio.to_thread(state.store.feedback.stats)
    titles = {result.config.name: result.config.title for result in await state.results()}
    if wild:
        lines += ["", words["stats_models"]]
        lines += [
            words["stats_model"].format(
                model=f"{titles.get(row.model, row.model)} ({row.revision})",
                right=row.right,
                n=row.n,
            )
            for row in wild
        ]
    await reply(update.effective_message, "\n".join(lines))


async def show_privacy(update: Update, context: BotContext) -> None:
    """Answer /privacy: what is stored, and a button that agrees to more or to less."""
    state = state_of(context)
    text, buttons = privacy_text(state, await state.language(update), await _keeps(state, update))
    chat = update.effective_chat
    private = chat is not None and chat.type == ChatType.PRIVATE
    await reply(update.effective_message, text, buttons if private else None)


async def _keeps(state: BotState, update: Update) -> bool:
    """Whether who writes agreed that photos are kept; that is said in their private chat."""
    if update.effective_user is None:
        return False
    return (await asyncio.to_thread(state.store.chats.get, update.effective_user.id)).keep_photos


async def forget(update: Update, context: BotContext) -> None:
    """Answer /forget: delete what is stored about a person."""
    state, user = state_of(context), update.effective_user
    words = locale.bot_texts(await state.language(update))
    is_operator = user is not None and user.id in state.settings.operators
    if user is not None:
        await inbox_of(context).drop(user.id, lambda: state.forget(user.id))
    said = words["forgotten_operator" if is_operator else "forgotten"]
    await reply(update.effective_message, said)


async def whoami(update: Update, context: BotContext) -> None:
    """Answer /whoami: the id of a person."""
    words = locale.bot_texts(await state_of(context).language(update))
    user = update.effective_user
    await reply(update.effective_message, words["whoami"].format(id=user.id if user else "?"))


async def on_migration(update: Update, context: BotContext) -> None:
    """A group that grew has another id from then on; what it chose goes with it."""
    message, state = update.message, state_of(context)
    if message is not None and message.migrate_to_chat_id is not None:
        chosen = await state.chat(update)
        await asyncio.to_thread(state.store.chats.set, message.migrate_to_chat_id, chosen)
