"""The operators' command /label: photos one by one, with a button for each class."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from telegram import InlineKeyboardMarkup, InputMediaPhoto, Message, Update
from telegram.constants import ChatType
from telegram.error import BadRequest

from bot import replies
from bot.confirmations import acknowledge
from bot.label_messages import delete_shown_photo, label_summary
from bot.sending import reply
from bot.state import BotContext
from core.errors import ImageError, PhotoReadError
from core.store.feedback import NONE, Feedback, StoredAnswer
from core.store.label_messages import LabelMessage

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
    """Answer /label: show the first photo of the queue, instead of one that was shown before."""
    message, state = update.effective_message, context.bot_data
    if message is None:
        return
    earlier = state.store.label_messages.of_chat
    for each in await asyncio.to_thread(earlier, context.bot.id, message.chat.id):
        await delete_shown_photo(context.bot, state, each)
    shown = await _next(context)
    if shown is None:
        await reply(message, (await context.texts())["label_none"])
        return
    await _send(context, message.chat.id, shown)


async def on_label_button(update: Update, context: BotContext) -> None:
    """Store the label of a photo, or skip it, and show the next one in its place."""
    query, chat, texts = update.callback_query, update.effective_chat, await context.texts()
    if query is None or query.data is None:
        return
    if not context.is_operator or chat is None or chat.type != ChatType.PRIVATE:
        await acknowledge(query)
        return
    if not isinstance(query.message, Message):
        await acknowledge(query, texts["expired"])
        return
    _, key, wish = query.data.split(":", 2)
    state, shown_in = context.bot_data, LabelMessage(chat.id, query.message.message_id)
    await asyncio.to_thread(state.store.label_messages.touch, context.bot.id, shown_in)
    alert = None
    if wish == _SKIP:
        await asyncio.to_thread(state.store.labels.skip, key)
    elif wish != _END and (problem := await _store(context, key, wish)) is not None:
        alert = texts[problem]
    await acknowledge(query, alert)
    await _show_next(context, shown_in, ends=wish == _END)


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


async def _show_next(context: BotContext, shown_in: LabelMessage, *, ends: bool) -> None:
    """Replace the photo of a message by the next one, or by a text where there is none."""
    bot, state = context.bot, context.bot_data
    shown = None if ends else await _next(context)
    if shown is not None:
        media = InputMediaPhoto(shown.jpeg, caption=await _caption(context, shown))
        buttons = await _buttons(context, shown)
        try:
            await bot.edit_message_media(media, *shown_in, reply_markup=buttons)
        except BadRequest:
            # It was deleted, as its photo was no longer to be labelled.
            await asyncio.to_thread(state.store.label_messages.remove, bot.id, shown_in)
            await _send(context, shown_in.chat, shown)
            return
        await asyncio.to_thread(state.store.label_messages.show, bot.id, shown_in, shown.key)
        return
    await delete_shown_photo(bot, state, shown_in)
    await bot.send_message(shown_in.chat, await label_summary(state, await context.language()))


async def _send(context: BotContext, chat: int, shown: _Shown) -> None:
    """Send a photo of the queue in a message of its own."""
    caption, buttons = await _caption(context, shown), await _buttons(context, shown)
    sent = await context.bot.send_photo(chat, shown.jpeg, caption, reply_markup=buttons)
    messages, shown_in = context.bot_data.store.label_messages, LabelMessage(chat, sent.message_id)
    await asyncio.to_thread(messages.show, context.bot.id, shown_in, shown.key)


async def _caption(context: BotContext, shown: _Shown) -> str:
    return (await context.texts())["label_asked"].format(n=shown.waiting)


async def _buttons(context: BotContext, shown: _Shown) -> InlineKeyboardMarkup:
    """Return the buttons of a photo, with the labels in descending order of their scores."""
    return replies.label_buttons(shown.key, list(shown.answer.scores), await context.language())


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
