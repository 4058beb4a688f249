"""Send replies within Telegram's length limits."""

from __future__ import annotations

import logging

from telegram import Bot, InlineKeyboardMarkup, Message
from telegram.constants import MessageLimit
from telegram.error import TelegramError, TimedOut

__all__ = ["reply", "reply_photo", "send_message"]

logger = logging.getLogger(__name__)


async def reply(
    message: Message | None, text: str, buttons: InlineKeyboardMarkup | None = None
) -> None:
    """Reply to a message with a text, if there is a message.

    Args:
        message: The message; None to do nothing.
        text: The text, which is cut at Telegram's limit.
        buttons: Buttons below it; None for none.

    Raises:
        TelegramError: The reply cannot be sent.
    """
    if message is not None:
        await message.reply_text(
            text[: MessageLimit.MAX_TEXT_LENGTH],
            reply_markup=buttons,
            do_quote=True,
            allow_sending_without_reply=True,
        )


async def reply_photo(message: Message | None, photo: bytes, caption: str) -> None:
    """Reply to a message with a photo, if there is a message.

    Args:
        message: The message; None to do nothing.
        photo: Content of the image file.
        caption: Text below it, which is cut at Telegram's limit.

    Raises:
        TelegramError: The reply cannot be sent.
    """
    if message is not None:
        await message.reply_photo(
            photo,
            caption=caption[: MessageLimit.CAPTION_LENGTH],
            do_quote=True,
            allow_sending_without_reply=True,
        )


async def send_message(bot: Bot, chat: int, text: str, picture: bytes | None = None) -> bool:
    """Send an unsolicited text, below a picture if there is one.

    Args:
        bot: The bot.
        chat: Chat that gets it.
        text: The text.
        picture: The picture.

    Returns:
        Whether it was delivered, as far as is known; other failures are logged.
    """
    try:
        if picture is None:
            await bot.send_message(chat, text[: MessageLimit.MAX_TEXT_LENGTH])
        else:
            await bot.send_photo(chat, picture, caption=text[: MessageLimit.CAPTION_LENGTH])
    except TimedOut as error:
        # It may have arrived, so it is not sent again.
        logger.warning("A message to an operator may not have arrived: %s", error)
    except TelegramError as error:
        logger.warning("A message could not be sent to an operator: %s", error)
        return False
    return True
