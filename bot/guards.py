"""Decide whether an update is answered, and reply to the errors that its sender can act on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from telegram import Message, MessageEntity, Update
from telegram.constants import ChatType

from bot.retry import RetryLater
from bot.sending import reply
from bot.state import BotContext
from bot.updates import photo_of
from core import locale
from core.errors import (
    BusyError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    RateError,
    UnavailableError,
)

__all__ = [
    "USER_ERRORS",
    "Handler",
    "is_addressed",
    "may_ask",
    "only_if_addressed",
    "reply_with",
    "with_error_replies",
]

USER_ERRORS = (BusyError, ImageError, ModelNotFoundError, RateError)
"""Errors that the sender can act on; all others are reported to the operators."""

Handler = Callable[[Update, BotContext], Coroutine[Any, Any, None]]


def only_if_addressed(handler: Handler) -> Handler:
    """Wrap the handler of a command: in a group, it answers commands that name the bot.

    A command without a name may be meant for another bot of the group. /what in reply to a photo
    is answered in any case.
    """

    async def handle(update: Update, context: BotContext) -> None:
        message = update.message
        if message is None:
            return
        command = (message.text or "").split(maxsplit=1)[0].lower()
        names_bot = command.endswith(f"@{context.bot.username}".lower())
        about_photo = command == "/what" and photo_of(message.reply_to_message) is not None
        is_private = message.chat.type == ChatType.PRIVATE
        if not (is_private or names_bot or about_photo):
            return
        with suppress(RateError):  # A warning would add to the noise in the group.
            if not is_private:
                context.bot_data.photo_rate.check(update, 1)
            await with_error_replies(context, lambda: handler(update, context))

    return handle


def reply_with(key: str) -> Handler:
    """Build a handler that replies with a text of `locale.bot_texts`."""

    async def handle(update: Update, context: BotContext) -> None:
        await reply(update.effective_message, (await context.texts())[key])

    return handle


async def may_ask(context: BotContext, photos: int) -> bool:
    """Return whether photos may be classified; if not, tell the chat why.

    Args:
        context: Context of the update.
        photos: Number of photos that it asks about.
    """
    state, update, texts = context.bot_data, context.current_update, await context.texts()
    chat = update.effective_chat
    try:
        state.photo_rate.check(update, photos)
    except RateError as error:
        # Groups are not warned, since that would add to the noise.
        is_private = chat is not None and chat.type == ChatType.PRIVATE
        if chat is not None and is_private and state.photo_rate.should_warn(chat.id):
            text = texts["too_many"].format(seconds=error.retry_after)
            await reply(update.effective_message, text)
            state.photo_rate.mark_warned(chat.id)
        return False
    if not context.is_operator and await state.maintenance():
        await reply(update.effective_message, texts["maintenance"])
        return False
    return True


async def with_error_replies(
    context: BotContext, handle: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run a handler and reply to the errors that the sender can act on.

    Raises:
        UnavailableError, RetryLater: A model is unavailable; the sender was told so once.
    """
    state, message = context.bot_data, context.current_update.effective_message
    update_id, notices = context.current_update.update_id, state.unavailable_notices
    try:
        await handle()
    except PhotoReadError:
        await reply(message, (await context.texts())["unreadable"])
    except USER_ERRORS as error:
        state.hour.record_error(error)
        await reply(message, locale.format_error(error, await context.language()))
    except (UnavailableError, RetryLater):
        if update_id not in notices:
            await reply(message, (await context.texts())["unavailable"])
            notices.add(update_id)
        raise
    notices.discard(update_id)


def is_addressed(message: Message, context: BotContext) -> bool:
    """Return whether a photo is meant for the bot.

    All photos of a private chat are; in a group, those that mention the bot or reply to it.
    """
    if message.chat.type == ChatType.PRIVATE:
        return True
    to = message.reply_to_message
    if to is not None and to.from_user is not None and to.from_user.id == context.bot.id:
        return True
    kinds: list[str | None] = [MessageEntity.MENTION, MessageEntity.TEXT_MENTION]
    name = f"@{context.bot.username}".lower()
    return any(
        text.lower() == name or (entity.user is not None and entity.user.id == context.bot.id)
        for entity, text in message.parse_caption_entities(kinds).items()
    )
