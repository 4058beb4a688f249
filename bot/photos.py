"""Handlers of photos and albums."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from telegram import Message, Update
from telegram.constants import ChatType, MessageLimit
from telegram.ext import filters

from bot import replies
from bot.guards import (
    inbox_of,
    is_meant,
    may_send,
    reply,
    reply_with,
    seconds_waited,
    state_of,
    with_error_replies,
)
from bot.state import BotContext, BotState, client_of, is_away, photo_of
from core import locale
from core.errors import StoreError, TenSightError
from core.inference.prediction import Prediction
from core.photos.saliency import overlay
from core.serving.ask import ask_all

__all__ = [
    "HasPhoto",
    "album",
    "explained_picture",
    "on_compare",
    "on_explain",
    "on_photo",
    "on_what",
]

# Pixels of the longer side of a picture that shows what spoke for an answer.
_PICTURE = 800


class HasPhoto(filters.MessageFilter):
    """Messages with a photo, or an image that was sent as a file."""

    def filter(self, message: Message) -> bool:
        """Return whether a message has one."""
        return photo_of(message) is not None


async def on_photo(update: Update, context: BotContext) -> None:
    """Answer a photo that was sent to the bot."""
    message = update.message
    if message is not None and is_meant(message, context):
        await _answer(update, context, message)


async def on_what(update: Update, context: BotContext) -> None:
    """Answer /what, in reply to a photo."""
    asked = update.message.reply_to_message if update.message is not None else None
    if asked is None or photo_of(asked) is None:
        await reply_with("reply_to_photo")(update, context)
    else:
        await _answer(update, context, asked)


async def on_compare(update: Update, context: BotContext) -> None:
    """Answer /compare, in reply to a photo: what each model says."""
    await _about_a_photo(update, context, _compared)


async def on_explain(update: Update, context: BotContext) -> None:
    """Answer /explain, in reply to a photo: where the model saw it."""
    await _about_a_photo(update, context, _explained)


async def _about_a_photo(
    update: Update,
    context: BotContext,
    act: Callable[[Update, BotContext, bytes], Coroutine[Any, Any, tuple[bytes | None, str]]],
) -> None:
    """Tell of the photo that a command was sent in reply to, in a picture or in words."""
    asked = update.message.reply_to_message if update.message is not None else None
    found = photo_of(asked)
    if found is None:
        await reply_with("reply_to_photo")(update, context)
        return

    async def do() -> None:
        async with state_of(context).photo(context.bot, *found) as photo:
            picture, text = await act(update, context, photo)
        # Not before: who has to wait for Telegram holds no place that others wait for.
        message = update.effective_message
        if message is None or picture is None:
            await reply(message, text)
            return
        await message.reply_photo(
            picture,
            caption=text[: MessageLimit.CAPTION_LENGTH],
            do_quote=True,
            allow_sending_without_reply=True,
        )

    if await may_send(update, context, 1):
        await with_error_replies(update, context, do)


async def _compared(update: Update, context: BotContext, photo: bytes) -> tuple[bytes | None, str]:
    state = state_of(context)
    language = await state.language(update)
    return None, replies.comparison(
        await ask_all(state.predictor, await state.results(), photo, client=client_of(update)),
        language,
    )


async def _explained(update: Update, context: BotContext, photo: bytes) -> tuple[bytes | None, str]:
    state = state_of(context)
    language, model = await state.language(update), await state.model(update)
    picture, text, _ = await explained_picture(update, state, photo, model, language)
    return picture, text


async def explained_picture(
    update: Update, state: BotState, photo: bytes, model: str, language: locale.Language
) -> tuple[bytes | None, str, Prediction]:
    """A photo under colours where something spoke for the answer, the words to it, the answer."""
    words, result = locale.bot_texts(language), await state.result(model)
    previewed = await state.predictor.predict_with_preview(
        photo, model=model, saliency=True, side=_PICTURE, client=client_of(update)
    )
    prediction = previewed.prediction
    said = replies.answer(prediction, result.config.title, language)
    saliency = prediction.saliency
    if saliency is None:
        text = f"{said}\n\n{words['why_not'].format(model=result.config.title)}"
        return None, text, prediction

    def draw() -> bytes:
        buffer = io.BytesIO()
        drawn = overlay(previewed.preview, saliency, result.config.input)
        drawn.save(buffer, "JPEG", quality=88)
        return buffer.getvalue()

    label = locale.label_name(prediction.label, language)
    text = f"{said}\n\n{words['why_text'].format(label=label)}"
    return await asyncio.to_thread(draw), text, prediction


async def _answer(update: Update, context: BotContext, asked: Message) -> None:
    """Answer one photo with a reply to the message that it came with."""
    state, found = state_of(context), photo_of(asked)
    if found is None:
        return

    async def do() -> None:
        language, model = await state.language(update), await state.model(update)
        async with state.photo(context.bot, *found) as photo:
            prediction = await state.predict(update, photo, model)
        user = asked.from_user
        person = state.person(user.id if user is not None else None)
        key = ""
        async with inbox_of(context).keeping(update) as may:
            if may:
                key = await state.keep_answer(update, person, found[0], prediction)
        title = (await state.result(model)).config.title
        text = replies.answer(prediction, title, language)
        await reply(asked, text, replies.answer_buttons(key, language))
        state.hour.answered(seconds_waited(update, context))

    if await may_send(update, context, 1):
        await with_error_replies(update, context, do)


async def album(updates: Sequence[Update], context: BotContext) -> None:
    """Answer the items of an album with one reply, a numbered table."""
    items = [update.message for update in updates if update.message is not None]
    if not items or not any(is_meant(item, context) for item in items):
        return
    state, first = state_of(context), updates[0]
    if not any(photo_of(item) for item in items):
        if items[0].chat.type == ChatType.PRIVATE:
            await reply_with("other")(first, context)
        return

    async def do() -> None:
        language, model = await state.language(first), await state.model(first)

        async def one(item: Message) -> Prediction | TenSightError | None:
            found = photo_of(item)
            if found is None:
                return None
            try:
                async with state.photo(context.bot, *found) as photo:
                    return await state.predict(first, photo, model)
            except TenSightError as error:
                if is_away(error) or isinstance(error, StoreError):
                    raise
                return error

        said = await asyncio.gather(*map(one, items))
        title = (await state.result(model)).config.title
        await reply(items[0], replies.album(said, title, language))
        for each in said:
            if isinstance(each, TenSightError):
                state.hour.failed(each)
            elif each is not None:
                state.hour.answered(seconds_waited(first, context))

    if await may_send(first, context, sum(photo_of(item) is not None for item in items)):
        await with_error_replies(first, context, do)
