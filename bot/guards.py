"""Rate limits, maintenance mode and error replies around the handlers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from telegram import InlineKeyboardMarkup, Message, MessageEntity, Update
from telegram.constants import ChatType, MessageLimit

from bot.inbox import Inbox, RetryLater
from bot.state import BotContext, BotState, is_away, photo_of
from core import locale
from core.errors import (
    BusyError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    PredictorError,
    RateError,
)

__all__ = [
    "USER_ERRORS",
    "Handler",
    "if_meant",
    "inbox_of",
    "is_meant",
    "may_send",
    "reply",
    "reply_with",
    "seconds_waited",
    "state_of",
    "with_error_replies",
]

# What is no fault of ours; of others operators hear.
USER_ERRORS = (BusyError, ImageError, ModelNotFoundError, RateError)

Handler = Callable[[Update, BotContext], Coroutine[Any, Any, None]]


def state_of(context: BotContext) -> BotState:
    """The application's state."""
    return cast(BotState, context.bot_data["state"])


def inbox_of(context: BotContext) -> Inbox:
    """Return the inbox of the running bot."""
    return cast(Inbox, context.bot_data["inbox"])


def if_meant(handler: Handler) -> Handler:
    """In a group, commands that do not name the bot may be meant for another one."""

    async def handle(update: Update, context: BotContext) -> None:
        message = update.message
        if message is None:
            return
        command = (message.text or "").split(maxsplit=1)[0].lower()
        named = command.endswith(f"@{context.bot.username}".lower())
        about_a_photo = command == "/what" and photo_of(message.reply_to_message) is not None
        private = message.chat.type == ChatType.PRIVATE
        if not (private or named or about_a_photo):
            return
        with suppress(RateError):  # in a group it would only be more noise
            if not private:
                state_of(context).check_rate(update, 1)
            await with_error_replies(update, context, lambda: handler(update, context))

    return handle


def reply_with(key: str) -> Handler:
    """Build a handler that replies with one text of `locale.bot_texts`."""

    async def tell(update: Update, context: BotContext) -> None:
        language = await state_of(context).language(update)
        await reply(update.effective_message, locale.bot_texts(language)[key])

    return tell


async def may_send(update: Update, context: BotContext, photos: int) -> bool:
    """Whether photos are looked at; if not, the chat was told why."""
    state, chat = state_of(context), update.effective_chat
    user = update.effective_user
    operator = user is not None and user.id in state.settings.operators
    words = locale.bot_texts(await state.language(update))
    try:
        state.check_rate(update, photos)
    except RateError as error:
        group = chat is not None and chat.type != ChatType.PRIVATE
        if group or not state.should_warn(update):
            return False
        await reply(update.effective_message, words["too_many"].format(seconds=error.retry_after))
        state.mark_warned(update)
        return False
    if await state.maintenance() and not operator:
        await reply(update.effective_message, words["maintenance"])
        return False
    return True


def seconds_waited(update: Update, context: BotContext) -> float:
    """Seconds since an update was taken."""
    return inbox_of(context).age(update)


async def with_error_replies(
    update: Update, context: BotContext, do: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Do what somebody asked for; where it cannot be done, say why.

    Raises:
        RetryLater: The predictor is away: who waits was told so.
    """
    state = state_of(context)
    language = await state.language(update)
    words = locale.bot_texts(language)
    try:
        await do()
    except PhotoReadError:
        await reply(update.effective_message, words["unreadable"])
    except USER_ERRORS as error:
        state.hour.failed(error)
        await reply(update.effective_message, locale.format_error(error, language))
    except PredictorError as error:
        if not is_away(error):
            raise
        told = context.bot_data.setdefault("told_away", set())
        if update.update_id not in told:
            await reply(update.effective_message, words["away"])
            told.add(update.update_id)
        raise RetryLater(str(error)) from error
    context.bot_data.get("told_away", set()).discard(update.update_id)


def is_meant(message: Message, context: BotContext) -> bool:
    """Whether a photo was sent to the bot: all are in a private chat, in a group few."""
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


async def reply(
    message: Message | None, text: str, buttons: InlineKeyboardMarkup | None = None
) -> None:
    """Reply to a message, where there is one."""
    if message is not None:
        await message.reply_text(
            text[: MessageLimit.MAX_TEXT_LENGTH],
            reply_markup=buttons,
            do_quote=True,
            allow_sending_without_reply=True,
        )
