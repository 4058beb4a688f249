"""Handlers of the buttons under answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from telegram import CallbackQuery, Message, Update
from telegram.error import BadRequest, TelegramError

from bot import corrections, replies
from bot.button_press import ButtonPress, Notice
from bot.guards import USER_ERRORS
from bot.photos import explain_photo
from bot.refusals import is_closed, is_gone
from bot.state import BotContext
from bot.updates import client_of
from core import locale
from core.errors import PhotoReadError, StoreError, TenSightError, UnavailableError
from core.inference.prediction import Prediction
from core.serving.ask import ask_all
from core.store.feedback import NONE, Feedback, StoredAnswer

__all__ = ["on_button"]

# Buttons that classify a photo, which counts towards the chat's photos a minute.
_PREDICTING = ("why", "compare", "model")
# Buttons that need the predictor.
_WORKING = (*_PREDICTING, "learn")


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
) -> tuple[Notice | None, Exception | None]:
    """Handle a press; return the notice for the user, and an error to report."""
    language = await context.language()
    texts = locale.bot_texts(language)
    try:
        return await _handle(query, data, context), None
    except PhotoReadError:
        return Notice(texts["gone"]), None
    except StoreError:
        raise
    except TenSightError as error:
        expected = isinstance(error, (*USER_ERRORS, UnavailableError))
        return Notice(locale.format_error(error, language)), None if expected else error
    except BadRequest as error:
        if is_closed(error):
            return Notice(texts["may_not_write"]), None
        if is_gone(error):
            return Notice(texts["too_old"]), None
        if "not modified" in error.message.lower():
            return None, None
        return Notice(locale.format_error(TenSightError(), language)), error
    except TelegramError:
        raise
    except Exception as error:  # noqa: BLE001  # the press must be answered; it is then reported
        return Notice(locale.format_error(TenSightError(), language)), error


async def _handle(query: CallbackQuery, data: str, context: BotContext) -> Notice | None:
    action, _, rest = data.partition(":")
    key, _, value = rest.partition(":")
    handler = _HANDLERS.get(action)
    if handler is None:
        return None
    texts = await context.texts()
    if not isinstance(query.message, Message) or not query.message.is_accessible:
        return Notice(texts["too_old"])
    if action in _WORKING and not context.is_operator and await context.bot_data.maintenance():
        return Notice(texts["maintenance"])
    if action in _PREDICTING:
        context.bot_data.photo_rate.check(context.current_update, 1)
    language = await context.language()
    return await handler(ButtonPress(context, query, query.message, action, key, value, language))


async def _on_why(press: ButtonPress) -> Notice | None:
    """Show where the model found evidence for its answer."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    async with press.photo(answer) as photo:
        picture, text, prediction = await explain_photo(press.context, photo, answer.model)
    await press.record_sender(answer, [prediction])
    key, judged = press.key, answer.judged
    if prediction.revision != answer.revision:
        # The message shows the answer of the model's live revision from now on.
        key, judged = await _store_again(press, answer, prediction), False
    await press.show(text, replies.answer_buttons(key, press.language, judged=judged), picture)
    return None


async def _store_again(press: ButtonPress, answer: StoredAnswer, prediction: Prediction) -> str:
    """Store another answer to the same photo; return its key."""
    async with press.context.keeping() as may_keep:
        # The owner of the photo may have asked to be forgotten in the meantime.
        if not may_keep or await press.answer() is None:
            return press.key
        return await press.context.store_answer(answer.person, answer.file, prediction)


async def _on_compare(press: ButtonPress) -> Notice | None:
    """Show the answers of all models."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    state = press.context.bot_data
    async with press.photo(answer) as photo:
        answers = await ask_all(
            state.predictor,
            await press.context.models(),
            photo,
            client=client_of(press.context.current_update),
        )
    given = [each for _, each in answers if isinstance(each, Prediction)]
    await press.record_sender(answer, given)
    # Feedback would not say which of the answers it is about.
    buttons = replies.answer_buttons(press.key, press.language, judged=True)
    await press.show(replies.comparison(answers, press.language), buttons)
    return None


async def _on_right(press: ButtonPress) -> Notice | None:
    """Store that an answer was right."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    if answer.verdict == "unsure":
        return await _on_wrong(press)  # The answer named two labels, so ask which one is right.
    return await _judge(press, answer, NONE if answer.verdict == "none" else answer.answer)


async def _on_wrong(press: ButtonPress) -> Notice | None:
    """Ask for the true label."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    if answer.judged:
        # A user who may teach can also correct an answer that others have judged.
        is_own = await corrections.is_own(press, answer)
        if not (is_own and await corrections.may_teach(press)):
            return press.toast("already_judged")
    labels = list(answer.scores)
    await press.show_buttons(replies.class_buttons(press.key, labels, press.language))
    return press.toast("which")


async def _on_truth(press: ButtonPress) -> Notice | None:
    """Store the true label of a wrong answer."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    truth = NONE if press.value == NONE else press.label(answer)
    return press.notice("gone") if truth is None else await _judge(press, answer, truth)


async def _judge(press: ButtonPress, answer: StoredAnswer, truth: str) -> Notice:
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
    is_own = await corrections.is_own(press, answer)
    may_correct = is_own and await corrections.may_teach(press)
    if may_correct and press.action == "truth" and truth != NONE:
        await corrections.offer(press, truth)
        return press.toast("thanks")
    # The buttons stay for those who may teach the model.
    judged = may_correct or not is_own
    await press.show_buttons(replies.answer_buttons(press.key, press.language, judged=judged))
    if stored is None:
        return press.toast("already_judged")
    return press.toast("thanks") if stored.feedback else press.notice("feedback_full")


async def _on_models(press: ButtonPress) -> Notice | None:
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


async def _on_model(press: ButtonPress) -> Notice | None:
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
    await press.record_sender(answer, [prediction])
    key = await _store_again(press, answer, prediction)
    text = replies.answer(prediction, title, press.language)
    await press.show(text, replies.answer_buttons(key, press.language))
    return None


async def _on_back(press: ButtonPress) -> Notice | None:
    """Show the buttons of an answer again."""
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    judged = answer.judged or press.value == replies.JUDGED
    await press.show_buttons(replies.answer_buttons(press.key, press.language, judged=judged))
    return None


async def _on_language(press: ButtonPress) -> Notice | None:
    """Select the chat's language."""
    if press.value in locale.LANGUAGES:
        await press.context.change_chat_settings(language=press.value)
        await press.show((await press.context.texts())["chosen_language"], None)
    return None


async def _on_keep(press: ButtonPress) -> Notice | None:
    """Turn the storage of photos on or off."""
    await press.context.change_chat_settings(keep_photos=press.value == "1")
    await _show_privacy(press)
    return None


async def _on_labels(press: ButtonPress) -> Notice | None:
    """Allow operators to label the user's photos, or withdraw them from the queue."""
    allowed, context = press.value == "1", press.context
    await context.change_chat_settings(may_label=allowed)
    if not allowed:
        queue = context.bot_data.store.labels
        await asyncio.to_thread(queue.withdraw, context.person or "")
    await _show_privacy(press)
    return None


async def _show_privacy(press: ButtonPress) -> None:
    """Show the privacy notice with the current settings."""
    context, days = press.context, press.context.bot_data.settings.retention_days
    consent = await context.keeps_photos(), await context.lets_label()
    taught = await context.taught_titles()
    await press.show(*replies.privacy_text(days, press.language, *consent, taught))


_HANDLERS: dict[str, Callable[[ButtonPress], Coroutine[Any, Any, Notice | None]]] = {
    "why": _on_why,
    "compare": _on_compare,
    "right": _on_right,
    "wrong": _on_wrong,
    "truth": _on_truth,
    "learn": corrections.on_learn,
    "models": _on_models,
    "model": _on_model,
    "back": _on_back,
    "language": _on_language,
    "keep": _on_keep,
    "labels": _on_labels,
}
