"""Handlers of the buttons under answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from telegram import CallbackQuery, InlineKeyboardMarkup, InputMediaPhoto, Message, Update
from telegram.constants import MessageLimit
from telegram.error import BadRequest, TelegramError

from bot import replies
from bot.guards import USER_ERRORS, inbox_of, state_of
from bot.photos import explained_picture
from bot.refusals import is_closed
from bot.replies import privacy_text
from bot.state import BotContext, client_of, is_away
from core import locale
from core.errors import PhotoReadError, StoreError, TenSightError
from core.inference.prediction import Prediction
from core.serving.ask import ask_all
from core.store.feedback import NONE, Feedback, StoredAnswer

__all__ = ["on_button"]

# Presses that a model has to work for.
_ASKING = ("why", "compare", "model")


async def on_button(update: Update, context: BotContext) -> None:
    """Handle a pressed button by its callback data, `action:key:value`."""
    query = update.callback_query
    if query is None or query.data is None:
        return
    act, _, rest = query.data.partition(":")
    key, _, value = rest.partition(":")
    handlers: dict[str, Callable[[ButtonPress], Coroutine[Any, Any, str | None]]] = {
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
    }
    state = state_of(context)
    language = await state.language(update)
    words, said = locale.bot_texts(language), None
    alert = True
    ours: Exception | None = None
    try:
        if act in handlers:
            if not isinstance(query.message, Message) or not query.message.is_accessible:
                said = words["too_old"]
            else:
                press = ButtonPress(update, context, query, query.message, key, value, language)
                if act in _ASKING:
                    if (
                        await state.maintenance()
                        and query.from_user.id not in state.settings.operators
                    ):
                        said = words["maintenance"]
                    else:
                        state.check_rate(update, 1)
                said = said or await handlers[act](press)
                alert = said not in (words["thanks"], words["which"], words["said_before"])
    except PhotoReadError:
        said = words["gone"]
    except StoreError:
        raise
    except TenSightError as error:
        said = locale.format_error(error, language)
        ours = None if is_away(error) or isinstance(error, USER_ERRORS) else error
    except BadRequest as error:
        if is_closed(error):
            said = words["may_not_write"]
        elif "not modified" not in error.message.lower():
            said, ours = locale.format_error(TenSightError(), language), error
    with suppress(TelegramError):  # a press that is long ago cannot be answered
        await query.answer(said, show_alert=alert and said is not None)
    if ours is not None:
        raise ours


class ButtonPress:
    """A button that was pressed, and what it is about."""

    def __init__(
        self,
        update: Update,
        context: BotContext,
        query: CallbackQuery,
        message: Message,
        key: str,
        value: str,
        language: locale.Language,
    ) -> None:
        self.update = update
        self.context = context
        self.query = query
        self.message = message
        self.key = key
        self.value = value
        self.language = language
        self.state = state_of(context)
        self.words = locale.bot_texts(language)

    def keeping(self) -> AbstractAsyncContextManager[bool]:
        """Whether something may be kept of who pressed, as `Inbox.keeping` tells."""
        return inbox_of(self.context).keeping(self.update)

    async def change_chat(self, **changes: Any) -> None:
        """Keep what the chat chooses."""
        async with self.keeping() as may:
            if may:
                await self.state.change_chat(self.update, **changes)

    async def answered(self) -> StoredAnswer | None:
        """The answer that it is about; None where it is kept no more."""
        return await asyncio.to_thread(self.state.store.feedback.answer, self.key)

    def photo(self, answered: StoredAnswer) -> AbstractAsyncContextManager[bytes]:
        """The photo, fetched again."""
        return self.state.photo(self.context.bot, answered.file)

    async def show(
        self, text: str, buttons: InlineKeyboardMarkup | None, picture: bytes | None = None
    ) -> None:
        """Put something else into the message."""
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
                # A press of just before may have put a picture there.
                if "no text in the message" not in error.message.lower():
                    raise
        await self.message.edit_caption(caption, reply_markup=buttons)

    async def buttons(self, buttons: InlineKeyboardMarkup | None) -> None:
        """Put other buttons under the message."""
        await self.message.edit_reply_markup(buttons)


async def _on_why(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        picture, text, prediction = await explained_picture(
            press.update, press.state, photo, answered.model, press.language
        )
    key, judged = press.key, answered.judged
    if prediction.revision != answered.revision:
        # What is shown from now on is what the model of today says.
        key, judged = await _kept(press, answered, prediction), False
    await press.show(text, replies.answer_buttons(key, press.language, judged=judged), picture)
    return None


async def _kept(press: ButtonPress, answered: StoredAnswer, prediction: Prediction) -> str:
    """Keep another answer on the same photo; its key."""
    async with press.keeping() as may:
        # Whoever sent the photo may have asked to be forgotten, too.
        if not may or await press.answered() is None:
            return press.key
        # Whose photo it is, not who pressed: consent is the sender's.
        file, person = answered.file, answered.person
        return await press.state.keep_answer(press.update, person, file, prediction)


async def _on_compare(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        answers = await ask_all(
            press.state.predictor,
            await press.state.results(),
            photo,
            client=client_of(press.update),
        )
    # Of several answers, none is the one that a judgement would be about.
    buttons = replies.answer_buttons(press.key, press.language, judged=True)
    await press.show(replies.comparison(answers, press.language), buttons)
    return None


async def _on_right(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    if answered.verdict == "unsure":
        return await _on_wrong(press)  # it named two: which of them?
    return await _judge(press, answered, NONE if answered.verdict == "none" else answered.answer)


async def _on_wrong(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    if answered.judged:
        return press.words["said_before"]
    buttons = replies.class_buttons(press.key, list(answered.scores), press.language)
    await press.buttons(buttons)
    return press.words["which"]


async def _on_truth(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    labels = sorted(answered.scores)
    if press.value != NONE and not (press.value.isdecimal() and int(press.value) < len(labels)):
        return press.words["gone"]
    truth = NONE if press.value == NONE else labels[int(press.value)]
    return await _judge(press, answered, truth)


async def _judge(press: ButtonPress, answered: StoredAnswer, truth: str) -> str:
    state, presser = press.state, press.query.from_user
    photo = None
    # Only who sent a photo can agree that it is kept.
    mine = state.person(presser.id) == answered.person
    if mine and (await asyncio.to_thread(state.store.chats.get, presser.id)).keep_photos:
        # What is said counts also where the photo is gone.
        with suppress(TelegramError, TenSightError):
            async with press.photo(answered) as content:
                photo = await state.predictor.archival_jpeg(content)
    feedback = Feedback(
        front="bot",
        model=answered.model,
        revision=answered.revision,
        answer=answered.answer,
        verdict=answered.verdict,
        scores=answered.scores,
        truth=truth,
        person=state.person(presser.id),
        photo=photo,
    )
    async with press.keeping() as may:
        if not may:
            return press.words["gone"]
        kept = await asyncio.to_thread(state.store.feedback.judge, press.key, feedback)
    await press.buttons(replies.answer_buttons(press.key, press.language, judged=True))
    if kept is None:
        return press.words["said_before"]
    return press.words["thanks" if kept.feedback else "feedback_full"]


async def _on_models(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    results = await press.state.selectable(answered.model)
    buttons = replies.model_buttons(
        results, press.language, answered.model, press.key, back=press.value
    )
    await press.buttons(buttons)
    return None


async def _on_model(press: ButtonPress) -> str | None:
    """Who is to answer in the chat; under an answer, on this photo alone."""
    chosen = [
        result
        for result in await press.state.results()
        if replies.model_code(result.config.name) == press.value
    ]
    if not chosen:
        return press.words["no_model"]
    (result,) = chosen
    name, title = result.config.name, result.config.title
    if not press.key:
        await press.change_chat(model=name)
        await press.show(press.words["chosen_model"].format(model=title), None)
        return None
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        prediction = await press.state.predict(press.update, photo, name)
    buttons = replies.answer_buttons(await _kept(press, answered, prediction), press.language)
    await press.show(replies.answer(prediction, title, press.language), buttons)
    return None


async def _on_back(press: ButtonPress) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    judged = answered.judged or press.value == replies.JUDGED
    await press.buttons(replies.answer_buttons(press.key, press.language, judged=judged))
    return None


async def _on_language(press: ButtonPress) -> str | None:
    if press.value in locale.LANGUAGES:
        await press.change_chat(language=press.value)
        words = locale.bot_texts(await press.state.language(press.update))
        await press.show(words["chosen_language"], None)
    return None


async def _on_keep(press: ButtonPress) -> str | None:
    keeps = press.value == "1"
    await press.change_chat(keep_photos=keeps)
    await press.show(*privacy_text(press.state, press.language, keeps))
    return None
