"""Handlers of the buttons under answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

from telegram import CallbackQuery, InlineKeyboardMarkup, InputMediaPhoto, Message, Update
from telegram.constants import MessageLimit
from telegram.error import BadRequest, TelegramError

from bot import replies
from bot.guards import USER_ERRORS
from bot.photos import explain_photo
from bot.refusals import is_closed
from bot.state import BotContext
from bot.updates import client_of
from core import locale
from core.errors import PhotoReadError, StoreError, TenSightError, UnavailableError
from core.inference.prediction import Prediction
from core.locale import Language
from core.serving.ask import ask_all
from core.store.feedback import NONE, Feedback, StoredAnswer

__all__ = ["on_button"]

# Buttons that need the predictor.
_PREDICTING = ("why", "compare", "model")


@dataclass(frozen=True)
class _Notice:
    """Text shown to whoever pressed a button.

    Attributes:
        text: The text.
        alert: Whether it is shown as a dialog to be dismissed.
    """

    text: str
    alert: bool = True


@dataclass(frozen=True)
class _ButtonPress:
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

    def notice(self, text: str) -> _Notice:
        """Build a notice that is shown as a dialog, by the key of its text."""
        return _Notice(locale.bot_texts(self.language)[text])

    def toast(self, text: str) -> _Notice:
        """Build a notice that disappears by itself, by the key of its text."""
        return _Notice(locale.bot_texts(self.language)[text], alert=False)

    async def answer(self) -> StoredAnswer | None:
        """Return the answer that the button is about; None if it is no longer stored."""
        return await asyncio.to_thread(self.context.bot_data.store.feedback.answer, self.key)

    def photo(self, answer: StoredAnswer) -> AbstractAsyncContextManager[bytes]:
        """Download the photo of an answer again."""
        return self.context.bot_data.photos.open(answer.file)

    async def show(
        self, text: str, buttons: InlineKeyboardMarkup | None, picture: bytes | None = None
    ) -> None:
        """Replace the content of the message."""
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


async def on_button(update: Update, context: BotContext) -> None:
    """Handle a pressed button by its callback data, `action:key:value`.

    Raises:
        StoreError, TelegramError: As in the button's handler; the press is handled again.
        Exception: An error to be reported, after the user was told that the action failed.
    """
    query = update.callback_query
    if query is None or query.data is None:
        return
    notice, failure = await _try_handling(query, query.data, context)
    with suppress(TelegramError):  # A press can be answered for a short time only.
        if notice is None:
            await query.answer()
        else:
            await query.answer(notice.text, show_alert=notice.alert)
    if failure is not None:
        raise failure


async def _try_handling(
    query: CallbackQuery, data: str, context: BotContext
) -> tuple[_Notice | None, Exception | None]:
    """Handle a press; return what the user is told, and an error that is to be reported."""
    language = await context.language()
    texts = locale.bot_texts(language)
    try:
        return await _handle(query, data, context), None
    except PhotoReadError:
        return _Notice(texts["gone"]), None
    except StoreError:
        raise
    except TenSightError as error:
        expected = isinstance(error, (*USER_ERRORS, UnavailableError))
        return _Notice(locale.format_error(error, language)), None if expected else error
    except BadRequest as error:
        if is_closed(error):
            return _Notice(texts["may_not_write"]), None
        if "not modified" in error.message.lower():
            return None, None
        return _Notice(locale.format_error(TenSightError(), language)), error
    except TelegramError:
        raise
    except Exception as error:  # noqa: BLE001  # the press must be answered; it is then reported
        return _Notice(locale.format_error(TenSightError(), language)), error


async def _handle(query: CallbackQuery, data: str, context: BotContext) -> _Notice | None:
    action, _, rest = data.partition(":")
    key, _, value = rest.partition(":")
    handler = _HANDLERS.get(action)
    if handler is None:
        return None
    texts = await context.texts()
    if not isinstance(query.message, Message) or not query.message.is_accessible:
        return _Notice(texts["too_old"])
    if action in _PREDICTING:
        if not context.is_operator and await context.bot_data.maintenance():
            return _Notice(texts["maintenance"])
        context.bot_data.photo_rate.check(context.current_update, 1)
    language = await context.language()
    return await handler(_ButtonPress(context, query, query.message, action, key, value, language))


async def _on_why(press: _ButtonPress) -> _Notice | None:
    """Show where the model found evidence for its answer."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    async with press.photo(answer) as photo:
        picture, text, prediction = await explain_photo(press.context, photo, answer.model)
    key, judged = press.key, answer.judged
    if prediction.revision != answer.revision:
        # The message shows the answer of the model's live revision from now on.
        key, judged = await _store_again(press, answer, prediction), False
    await press.show(text, replies.answer_buttons(key, press.language, judged=judged), picture)
    return None


async def _store_again(press: _ButtonPress, answer: StoredAnswer, prediction: Prediction) -> str:
    """Store another answer to the same photo; return its key."""
    async with press.context.keeping() as may_keep:
        # The owner of the photo may have asked to be forgotten in the meantime.
        if not may_keep or await press.answer() is None:
            return press.key
        return await press.context.store_answer(answer.person, answer.file, prediction)


async def _on_compare(press: _ButtonPress) -> _Notice | None:
    """Show the answers of all models."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    state = press.context.bot_data
    async with press.photo(answer) as photo:
        answers = await ask_all(
            state.predictor,
            await state.models.all(),
            photo,
            client=client_of(press.context.current_update),
        )
    # Feedback would not say which of the answers it is about.
    buttons = replies.answer_buttons(press.key, press.language, judged=True)
    await press.show(replies.comparison(answers, press.language), buttons)
    return None


async def _on_right(press: _ButtonPress) -> _Notice | None:
    """Store that an answer was right."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    if answer.verdict == "unsure":
        return await _on_wrong(press)  # The answer named two labels, so ask which one is right.
    return await _judge(press, answer, NONE if answer.verdict == "none" else answer.answer)


async def _on_wrong(press: _ButtonPress) -> _Notice | None:
    """Ask for the true label."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    if answer.judged:
        return press.toast("said_before")
    labels = list(answer.scores)
    await press.show_buttons(replies.class_buttons(press.key, labels, press.language))
    return press.toast("which")


async def _on_truth(press: _ButtonPress) -> _Notice | None:
    """Store the true label of a wrong answer."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    labels = sorted(answer.scores)
    if press.value == NONE:
        return await _judge(press, answer, NONE)
    if not (press.value.isdecimal() and int(press.value) < len(labels)):
        return press.notice("gone")
    return await _judge(press, answer, labels[int(press.value)])


async def _judge(press: _ButtonPress, answer: StoredAnswer, truth: str) -> _Notice:
    """Store feedback, and the photo if its sender gives the feedback and has agreed to that."""
    context, state = press.context, press.context.bot_data
    photo = None
    if context.person == answer.person and await context.keeps_photos():
        # Feedback counts even if the photo is no longer available.
        with suppress(TelegramError, TenSightError):
            async with press.photo(answer) as content:
                photo = await state.predictor.archival_jpeg(content)
    feedback = Feedback(
        front="bot",
        model=answer.model,
        revision=answer.revision,
        answer=answer.answer,
        verdict=answer.verdict,
        scores=answer.scores,
        truth=truth,
        person=context.person,
        photo=photo,
    )
    async with context.keeping() as may_keep:
        if not may_keep:
            return press.notice("gone")
        stored = await asyncio.to_thread(state.store.feedback.judge, press.key, feedback)
    await press.show_buttons(replies.answer_buttons(press.key, press.language, judged=True))
    if stored is None:
        return press.toast("said_before")
    return press.toast("thanks") if stored.feedback else press.notice("feedback_full")


async def _on_models(press: _ButtonPress) -> _Notice | None:
    """Show one button for each model that could answer instead."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    models = await press.context.selectable(answer.model)
    buttons = replies.model_buttons(
        models, press.language, answer.model, press.key, back=press.value
    )
    await press.show_buttons(buttons)
    return None


async def _on_model(press: _ButtonPress) -> _Notice | None:
    """Select the chat's model; under an answer, classify its photo with another model."""
    models = await press.context.models()
    selected = [each for each in models if replies.model_code(each.config.name) == press.value]
    if not selected:
        return press.notice("no_model")
    name, title = selected[0].config.name, selected[0].config.title
    if not press.key:
        await press.context.change_chat_settings(model=name)
        text = locale.bot_texts(press.language)["chosen_model"].format(model=title)
        await press.show(text, None)
        return None
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    async with press.photo(answer) as photo:
        prediction = await press.context.predict(photo, name)
    key = await _store_again(press, answer, prediction)
    text = replies.answer(prediction, title, press.language)
    await press.show(text, replies.answer_buttons(key, press.language))
    return None


async def _on_back(press: _ButtonPress) -> _Notice | None:
    """Show the buttons of an answer again."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    judged = answer.judged or press.value == replies.JUDGED
    await press.show_buttons(replies.answer_buttons(press.key, press.language, judged=judged))
    return None


async def _on_language(press: _ButtonPress) -> _Notice | None:
    """Select the chat's language."""
    if press.value in locale.LANGUAGES:
        await press.context.change_chat_settings(language=press.value)
        await press.show((await press.context.texts())["chosen_language"], None)
    return None


async def _on_keep(press: _ButtonPress) -> _Notice | None:
    """Turn the storage of photos on or off."""
    await press.context.change_chat_settings(keep_photos=press.value == "1")
    await _show_privacy(press)
    return None


async def _on_labels(press: _ButtonPress) -> _Notice | None:
    """Allow operators to label the user's photos, or withdraw them from the queue."""
    allowed, context = press.value == "1", press.context
    await context.change_chat_settings(may_label=allowed)
    if not allowed:
        queue = context.bot_data.store.labels
        await asyncio.to_thread(queue.withdraw, context.person or "")
    await _show_privacy(press)
    return None


async def _show_privacy(press: _ButtonPress) -> None:
    """Show the privacy notice with the settings of now."""
    context, days = press.context, press.context.bot_data.settings.retention_days
    consent = await context.keeps_photos(), await context.lets_label()
    taught = await context.taught_titles()
    await press.show(*replies.privacy_text(days, press.language, *consent, taught))


_HANDLERS: dict[str, Callable[[_ButtonPress], Coroutine[Any, Any, _Notice | None]]] = {
    "why": _on_why,
    "compare": _on_compare,
    "right": _on_right,
    "wrong": _on_wrong,
    "truth": _on_truth,
    "models": _on_models,
    "model": _on_model,
    "back": _on_back,
    "language": _on_language,
    "keep": _on_keep,
    "labels": _on_labels,
}
