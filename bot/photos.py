"""Handlers of photos, albums and the commands about a photo."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from telegram import Message, Update
from telegram.constants import ChatType
from telegram.ext import filters

from bot import replies
from bot.guards import is_addressed, may_ask, reply_with, with_error_replies
from bot.lessons import take_photos
from bot.sending import reply, reply_photo
from bot.state import BotContext
from bot.updates import client_of, photo_of, sender_id_of
from core import locale
from core.errors import StoreError, TenSightError, UnavailableError
from core.inference.prediction import Prediction
from core.photos.saliency import overlay
from core.registry.taught import is_private
from core.serving.ask import ask_all

__all__ = [
    "HasPhoto",
    "answer_album",
    "explain_photo",
    "on_compare",
    "on_explain",
    "on_photo",
    "on_what",
]

# Longer side of the saliency overlay, in pixels.
_OVERLAY_SIDE = 800


class HasPhoto(filters.MessageFilter):
    """Filter for messages with a photo, or an image that was sent as a file."""

    def filter(self, message: Message) -> bool:
        """Return whether a message has one."""
        return photo_of(message) is not None


async def on_photo(update: Update, context: BotContext) -> None:
    """Answer a photo that is meant for the bot."""
    message = update.message
    if message is None or await take_photos(context, [message]):
        return
    if is_addressed(message, context):
        await _answer(context, message)


async def on_what(update: Update, context: BotContext) -> None:
    """Answer /what in reply to a photo: classify it."""
    message = update.message.reply_to_message if update.message is not None else None
    if message is None or photo_of(message) is None:
        await reply_with("reply_to_photo")(update, context)
    else:
        await _answer(context, message)


async def on_compare(update: Update, context: BotContext) -> None:
    """Answer /compare in reply to a photo: classify it with every model."""
    await _on_photo_command(update, context, _compare)


async def on_explain(update: Update, context: BotContext) -> None:
    """Answer /explain in reply to a photo: show where the model found evidence."""
    await _on_photo_command(update, context, _explain)


async def _on_photo_command(
    update: Update,
    context: BotContext,
    command: Callable[
        [BotContext, bytes], Coroutine[Any, Any, tuple[bytes | None, str, Sequence[Prediction]]]
    ],
) -> None:
    """Reply with what a command returns for the photo that it replies to.

    A command returns a picture or None, a text, and the answers of the models.
    """
    message = update.message
    about = message.reply_to_message if message is not None else None
    found = photo_of(about)
    if about is None or found is None:
        await reply_with("reply_to_photo")(update, context)
        return

    async def respond() -> None:
        async with context.bot_data.photos.open(*found) as photo:
            picture, text, answers = await command(context, photo)
        await context.record_sender(_sender_of(context, about), answers)
        # Sent after the photo has been released: waiting for Telegram holds no place in the queue.
        if picture is None:
            await reply(message, text)
        else:
            await reply_photo(message, picture, text)

    if await may_ask(context, 1):
        await with_error_replies(context, respond)


def _sender_of(context: BotContext, message: Message) -> str | None:
    """Return the keyed hash of the user who sent a message; None where it has none."""
    return context.bot_data.person(sender_id_of(message))


async def _compare(
    context: BotContext, photo: bytes
) -> tuple[bytes | None, str, Sequence[Prediction]]:
    state = context.bot_data
    answers = await ask_all(
        state.predictor, await context.models(), photo, client=client_of(context.current_update)
    )
    given = [each for _, each in answers if isinstance(each, Prediction)]
    return None, replies.comparison(answers, await context.language()), given


async def _explain(
    context: BotContext, photo: bytes
) -> tuple[bytes | None, str, Sequence[Prediction]]:
    picture, text, prediction = await explain_photo(context, photo, await context.model())
    return picture, text, [prediction]


async def explain_photo(
    context: BotContext, photo: bytes, model: str
) -> tuple[bytes | None, str, Prediction]:
    """Classify a photo and draw its saliency map over it.

    Args:
        context: Context of the update.
        photo: Content of the file.
        model: Name of the model.

    Returns:
        JPEG with the overlay (None where the model has no saliency map), caption, prediction.
    """
    language = await context.language()
    texts, info = locale.bot_texts(language), await context.bot_data.models.get(model)
    previewed = await context.bot_data.predictor.predict_with_preview(
        photo,
        model=model,
        saliency=True,
        side=_OVERLAY_SIDE,
        client=client_of(context.current_update),
    )
    prediction, saliency = previewed.prediction, previewed.prediction.saliency
    answer = replies.answer(prediction, info.config.title, language)
    if saliency is None:
        why_not = texts["why_not"].format(model=info.config.title)
        return None, f"{answer}\n\n{why_not}", prediction

    def draw() -> bytes:
        buffer = io.BytesIO()
        picture = overlay(previewed.preview, saliency, info.config.input)
        picture.save(buffer, "JPEG", quality=88)
        return buffer.getvalue()

    why = texts["why_text"].format(label=locale.label_name(prediction.label, language))
    return await asyncio.to_thread(draw), f"{answer}\n\n{why}", prediction


async def _answer(context: BotContext, message: Message) -> None:
    """Classify the photo of a message and reply to it."""
    state, found = context.bot_data, photo_of(message)
    if found is None:
        return

    async def respond() -> None:
        language, model = await context.language(), await context.model()
        async with state.photos.open(*found) as photo:
            prediction = await context.predict(photo, model)
        # The answer belongs to the sender of the photo, not to the user who asked about it.
        person, key = _sender_of(context, message), ""
        await context.record_sender(person, [prediction])
        async with context.keeping() as may_keep:
            if may_keep:
                key = await context.store_answer(person, found.file_id, prediction)
        title = (await state.models.get(model)).config.title
        text = replies.answer(prediction, title, language)
        await reply(message, text, replies.answer_buttons(key, language))
        state.hour.record_answer(context.waited_s, prediction.verdict)

    if await may_ask(context, 1):
        await with_error_replies(context, respond)


async def answer_album(updates: Sequence[Update], context: BotContext) -> None:
    """Classify the photos of an album and reply to its first item with a numbered list.

    Args:
        updates: The items in order.
        context: Context of the first item.
    """
    messages = [update.message for update in updates if update.message is not None]
    if not messages or await take_photos(context, messages):
        return
    if not any(is_addressed(message, context) for message in messages):
        return
    state, n_photos = context.bot_data, sum(photo_of(each) is not None for each in messages)
    if n_photos == 0:
        if messages[0].chat.type == ChatType.PRIVATE:
            await reply_with("other")(context.current_update, context)
        return

    async def respond() -> None:
        language, model = await context.language(), await context.model()

        async def classify(message: Message) -> Prediction | TenSightError | None:
            found = photo_of(message)
            if found is None:
                return None
            try:
                async with state.photos.open(*found) as photo:
                    prediction = await context.predict(photo, model)
                await context.record_sender(_sender_of(context, message), [prediction])
            except (StoreError, UnavailableError):
                raise
            except TenSightError as error:
                return error
            return prediction

        answers = await asyncio.gather(*map(classify, messages))
        # Models taught in a chat belong to that chat.
        if not is_private(model):
            await _store_to_label(context, updates, answers)
        title = (await state.models.get(model)).config.title
        await reply(messages[0], replies.album(answers, title, language))
        for answer in answers:
            if isinstance(answer, TenSightError):
                state.hour.record_error(answer)
            elif answer is not None:
                state.hour.record_answer(context.waited_s, answer.verdict)

    if await may_ask(context, n_photos):
        await with_error_replies(context, respond)


async def _store_to_label(
    context: BotContext,
    updates: Sequence[Update],
    answers: Sequence[Prediction | TenSightError | None],
) -> None:
    """Store the answers to an album if its sender lets operators label the photos.

    Nothing else needs them, since there are no buttons under the reply to an album.
    """
    if not await context.lets_label():
        return
    items = [update for update in updates if update.message is not None]
    async with context.keeping() as may_keep:
        if not may_keep:
            return
        for update, answer in zip(items, answers, strict=True):
            found = photo_of(update.message)
            if isinstance(answer, Prediction) and found is not None:
                await context.store_answer(context.person, found.file_id, answer, update=update)
