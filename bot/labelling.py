"""The operators' command /label: photos one by one, with a button for each class."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from telegram import InputMediaPhoto, Message, Update
from telegram.constants import ChatType
from telegram.error import TelegramError

from bot import replies
from bot.confirmations import acknowledge
from bot.sending import reply
from bot.state import BotContext
from core.errors import ImageError, PhotoReadError
from core.store.feedback import NONE, Feedback, StoredAnswer

__all__ = ["on_label_button", "show_label_queue"]

# A press names the class by its place among the sorted labels.
_SKIP, _END = "skip", "end"
# The text about a photo that another operator labelled, or its sender withdrew.
_GONE = "label_gone"


class _Shown(NamedTuple):
    """A photo of the queue as it is shown to an operator.

    Attributes:
        key: Key of the answer to it.
        answer: The answer.
        jpeg: The photo as it would be stored.
        waiting: Number of photos that wait, this one included.
    """

    key: str
    answer: StoredAnswer
    jpeg: bytes
    waiting: int


async def show_label_queue(update: Update, context: BotContext) -> None:
    """Answer /label: show the first photo of the queue."""
    texts, message = await context.texts(), update.effective_message
    shown = await _next(context)
    if shown is None or message is None:
        await reply(message, texts["label_none"])
        return
    await message.reply_photo(
        shown.jpeg,
        caption=texts["label_asked"].format(n=shown.waiting),
        reply_markup=replies.label_buttons(shown.key, _labels(shown), await context.language()),
    )


async def on_label_button(update: Update, context: BotContext) -> None:
    """Store the label of a photo, or skip it, and show the next one in its place."""
    query, chat, texts = update.callback_query, update.effective_chat, await context.texts()
    if query is None or query.data is None:
        return
    is_private = chat is not None and chat.type == ChatType.PRIVATE
    if not context.is_operator or not is_private:
        await acknowledge(query)
        return
    if not isinstance(query.message, Message):
        await acknowledge(query, texts["expired"])
        return
    _, key, wish = query.data.split(":", 2)
    alert = None
    if wish == _SKIP:
        await asyncio.to_thread(context.bot_data.store.labels.skip, key)
    elif wish != _END and (problem := await _store(context, key, wish)) is not None:
        alert = texts[problem]
    await acknowledge(query, alert)
    await _show_next(context, query.message, ends=wish == _END)


async def _store(context: BotContext, key: str, wish: str) -> str | None:
    """Store a label with its photo; return the key of a text about what was not stored."""
    state = context.bot_data
    answer = await asyncio.to_thread(state.store.feedback.answer, key)
    if answer is None:
        return _GONE
    places = sorted(answer.scores)
    if wish != NONE and not (wish.isdecimal() and int(wish) < len(places)):
        return _GONE
    try:
        async with state.photos.open(answer.file) as content:
            photo = await state.predictor.archival_jpeg(content)
    except (ImageError, PhotoReadError):
        return _GONE
    feedback = Feedback(
        front="label",
        model=answer.model,
        revision=answer.revision,
        answer=answer.answer,
        verdict=answer.verdict,
        scores=answer.scores,
        truth=NONE if wish == NONE else places[int(wish)],
        # The row belongs to the photo's sender, who may ask to delete it.
        person=answer.person,
        photo=photo,
    )
    stored = await asyncio.to_thread(state.store.feedback.label, key, feedback)
    if stored is None:
        return _GONE
    if not stored.feedback:
        return "label_full"
    return None if stored.photo else "label_without_photo"


async def _show_next(context: BotContext, message: Message, *, ends: bool) -> None:
    """Replace the photo of a message by the next one, or by a text where there is none."""
    texts, language = await context.texts(), await context.language()
    shown = None if ends else await _next(context)
    if shown is not None:
        caption = texts["label_asked"].format(n=shown.waiting)
        buttons = replies.label_buttons(shown.key, _labels(shown), language)
        media = InputMediaPhoto(shown.jpeg, caption=caption)
        await message.edit_media(media, reply_markup=buttons)
        return
    n = len(await asyncio.to_thread(context.bot_data.store.labels.waiting))
    # The chat keeps no photo.
    with suppress(TelegramError):
        await message.delete()
    text = texts["label_ended"].format(n=n) if n else texts["label_none"]
    await context.bot.send_message(message.chat.id, text)


async def _next(context: BotContext) -> _Shown | None:
    """Return the first photo of the queue that can be shown; others are removed from it.

    Raises:
        PredictorError: The predictor cannot convert photos now.
    """
    state = context.bot_data
    queue = await asyncio.to_thread(state.store.labels.waiting)
    for i, queued in enumerate(queue):
        answer = await asyncio.to_thread(state.store.feedback.answer, queued.key)
        if answer is None or not answer.may_label:
            continue
        try:
            async with state.photos.open(answer.file) as content:
                jpeg = await state.predictor.archival_jpeg(content)
        except (ImageError, PhotoReadError):
            await asyncio.to_thread(state.store.labels.skip, queued.key)
            continue
        return _Shown(queued.key, answer, jpeg, len(queue) - i)
    return None


def _labels(shown: _Shown) -> Sequence[str]:
    """Return the labels in descending order of their scores."""
    return list(shown.answer.scores)
