"""A button press, and the notice that is shown in response."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from telegram import CallbackQuery, InlineKeyboardMarkup, InputMediaPhoto, Message
from telegram.constants import MessageLimit
from telegram.error import BadRequest

from bot.state import BotContext
from core import locale
from core.inference.prediction import Prediction
from core.locale import Language
from core.store.feedback import StoredAnswer

__all__ = ["ButtonPress", "Notice"]


@dataclass(frozen=True)
class Notice:
    """Text shown to the user who pressed a button.

    Attributes:
        text: The text.
        alert: Whether it is shown as a dialog to be dismissed.
    """

    text: str
    alert: bool = True


@dataclass(frozen=True)
class ButtonPress:
    """A pressed button.

    Attributes:
        context: Context of the update.
        query: The press.
        message: Message with the button.
        action: First part of the callback data, `action:key:value`.
        key: Key of the answer that it is about; empty where it is about none.
        value: Third part of the callback data.
        language: Language of the chat.
    """

    context: BotContext
    query: CallbackQuery
    message: Message
    action: str
    key: str
    value: str
    language: Language

    def notice(self, text: str) -> Notice:
        """Build a notice that is shown as a dialog, by the key of its text."""
        return Notice(locale.bot_texts(self.language)[text])

    def toast(self, text: str) -> Notice:
        """Build a notice that disappears by itself, by the key of its text."""
        return Notice(locale.bot_texts(self.language)[text], alert=False)

    async def answer(self) -> StoredAnswer | None:
        """Return the answer that the button is about; None if it is no longer stored."""
        return await asyncio.to_thread(self.context.bot_data.store.feedback.answer, self.key)

    def label(self, answer: StoredAnswer) -> str | None:
        """Return the label whose number the button carries; None where there is none."""
        labels = sorted(answer.scores)
        if not (self.value.isdecimal() and int(self.value) < len(labels)):
            return None
        return labels[int(self.value)]

    def photo(self, answer: StoredAnswer) -> AbstractAsyncContextManager[bytes]:
        """Download the photo of an answer again."""
        return self.context.bot_data.photos.open(answer.file)

    async def record_sender(self, answer: StoredAnswer, given: Sequence[Prediction]) -> None:
        """Record the sender of the photo of an answer, as `BotContext.record_sender` does.

        Args:
            answer: The answer under the button.
            given: The answers that models have now given to its photo.
        """
        await self.context.record_sender(answer.person, given, of_answer=self.key)

    async def show(
        self, text: str, buttons: InlineKeyboardMarkup | None, picture: bytes | None = None
    ) -> None:
        """Replace the content of the message.

        Args:
            text: New text; the caption, which is cut at Telegram's limit, if there is a picture.
            buttons: New buttons; None for none.
            picture: New picture; None to leave the picture that the message may have.

        Raises:
            TelegramError: The message cannot be changed.
        """
        caption = text[: MessageLimit.CAPTION_LENGTH]
        if picture is not None:
            media = InputMediaPhoto(picture, caption=caption)
            await self.message.edit_media(media, reply_markup=buttons)
            return
        if not self.message.photo:
            try:
                await self.message.edit_text(text, reply_markup=buttons)
                return
            except BadRequest as error:
                # An earlier press may have put a picture into the message.
                if "no text in the message" not in error.message.lower():
                    raise
        await self.message.edit_caption(caption, reply_markup=buttons)

    async def show_buttons(self, buttons: InlineKeyboardMarkup | None) -> None:
        """Replace the buttons of the message."""
        await self.message.edit_reply_markup(buttons)
