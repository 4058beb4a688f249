"""Handlers of the commands that everyone may use."""

from __future__ import annotations

import asyncio

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.constants import ChatType

from bot import replies
from bot.sending import reply
from bot.state import BotContext
from bot.teach import forget_sender
from core import locale
from core.registry.taught import is_private

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
    model = await context.bot_data.models.get(await context.model())
    text = replies.greeting("help", model.config.labels, await context.language())
    await reply(update.effective_message, text)


async def choose_model(update: Update, context: BotContext) -> None:
    """Answer /model: one button for each model."""
    selected, language = await context.model(), await context.language()
    models = await context.selectable(selected)
    text = locale.bot_texts(language)["choose_model"]
    await reply(update.effective_message, text, replies.model_buttons(models, language, selected))


async def choose_language(update: Update, context: BotContext) -> None:
    """Answer /language: one button for each language."""
    buttons = [
        InlineKeyboardButton(
            locale.bot_texts(each)["language_name"], callback_data=f"language::{each}"
        )
        for each in locale.LANGUAGES
    ]
    text = (await context.texts())["choose_language"]
    await reply(update.effective_message, text, InlineKeyboardMarkup([buttons]))


async def show_stats(update: Update, context: BotContext) -> None:
    """Answer /stats: counts of the user's answers, and the accuracy of each model."""
    state, texts = context.bot_data, await context.texts()
    user = await asyncio.to_thread(state.store.chats.user_stats, context.person or "")
    lines = [
        texts["stats"].format(
            days=state.settings.retention_days, n=user.answers, judged=user.judged, right=user.right
        )
    ]
    by_model = await asyncio.to_thread(state.store.feedback.stats)
    titles = {model.config.name: model.config.title for model in await state.models.all()}
    if by_model:
        lines += ["", texts["stats_models"]]
    for row in by_model:
        if is_private(row.model):
            continue  # Anyone who knows the id of a taught model may use it.
        name = f"{titles.get(row.model, row.model)} ({row.revision})"
        lines.append(texts["stats_model"].format(model=name, right=row.right, n=row.n))
    await reply(update.effective_message, "\n".join(lines))


async def show_privacy(update: Update, context: BotContext) -> None:
    """Answer /privacy: what is stored, and in a private chat a button that changes it."""
    text, buttons = replies.privacy_text(
        context.bot_data.settings.retention_days,
        await context.language(),
        await context.keeps_photos(),
        await context.lets_label(),
        await context.taught_titles(),
    )
    chat = update.effective_chat
    is_private = chat is not None and chat.type == ChatType.PRIVATE
    await reply(update.effective_message, text, buttons if is_private else None)


async def forget(update: Update, context: BotContext) -> None:
    """Answer /forget: delete what is stored about the user."""
    state, texts, user = context.bot_data, await context.texts(), context.user_id
    if user is not None:
        await state.inbox.forget(user, lambda: state.forget(user))
        # Afterwards, since it takes seconds; the command is repeated if the process dies meanwhile.
        await forget_sender(context, state.person(user) or "")
    text = texts["forgotten_operator" if context.is_operator else "forgotten"]
    await reply(update.effective_message, text)


async def whoami(update: Update, context: BotContext) -> None:
    """Answer /whoami: the user's id."""
    user = context.user_id
    text = (await context.texts())["whoami"].format(id="?" if user is None else user)
    await reply(update.effective_message, text)


async def on_migration(update: Update, context: BotContext) -> None:
    """Pass settings and taught models of a group to the supergroup that it became."""
    message = update.message
    if message is not None and message.migrate_to_chat_id is not None:
        settings = await context.chat_settings()
        state, new_chat = context.bot_data, message.migrate_to_chat_id
        await asyncio.to_thread(state.store.chats.set, new_chat, settings)
        await asyncio.to_thread(state.store.lessons.move, message.chat.id, new_chat)
        await state.taught.move(message.chat.id, new_chat)
