"""Send replies within Telegram's length limits."""

from __future__ import annotations

from telegram import InlineKeyboardMarkup, Message
from telegram.constants import MessageLimit

__all__ = ["reply", "reply_photo"]


async def reply(
    message: Message | None, text: str, buttons: InlineKeyboardMarkup | None = None
) -> None:
    """Reply to a message with a text, if there is a message."""
    if message is not None:
        await message.reply_text(
            text[: MessageLimit.MAX_TEXT_LENGTH],
            reply_markup=buttons,
            do_quote=True,
            allow_sending_without_reply=True,
        )


async def reply_photo(message: Message | None, photo: bytes, caption: str) -> None:
    """Reply to a message with a photo, if there is a message."""
    if message is not None:
        await message.reply_photo(
            photo,
            caption=caption[: MessageLimit.CAPTION_LENGTH],
            do_quote=True,
            allow_sending_without_reply=True,
        )
