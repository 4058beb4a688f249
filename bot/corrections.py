"""Correct an answer of a taught model: add the photo to the right class and train again."""

from __future__ import annotations

from functools import partial

from bot import replies
from bot.button_press import ButtonPress, Notice
from bot.lessons import is_teacher
from bot.sending import reply
from bot.tasks import run_in_daemon_thread
from bot.taught_models import TaughtModels, owner_of
from bot.teaching_texts import refusal
from core import locale
from core.errors import TeachingError
from core.store.feedback import StoredAnswer
from core.teaching.collect import LabelledPhoto
from core.teaching.corrections import Correction, correct

__all__ = ["is_own", "may_teach", "offer", "on_learn"]


async def is_own(press: ButtonPress, answer: StoredAnswer) -> bool:
    """Return whether an answer is one of a model that was taught in the chat."""
    return await press.context.bot_data.taught.owns(press.message.chat.id, answer.model)


async def may_teach(press: ButtonPress) -> bool:
    """Return whether the user who pressed a button may teach in the chat."""
    return await is_teacher(press.context, press.message.chat, press.query.from_user)


async def offer(press: ButtonPress, label: str) -> None:
    """Ask whether to add the photo of an answer to a class.

    Args:
        press: The press that selected the true class; its value is the number of the class.
        label: Name of the class.
    """
    buttons = replies.correction_buttons(press.key, press.value, label, press.language)
    await press.show_buttons(buttons)


async def on_learn(press: ButtonPress) -> Notice | None:
    """Train the model of an answer again with its photo, and report the improvement.

    If the process dies meanwhile, the press is handled again, and the photo counts once.
    """
    answer = await press.answer()
    if answer is None:
        return press.notice("gone")
    if not await is_own(press, answer):
        return press.notice("no_model")
    if not await may_teach(press):
        return press.notice("teach_admins")
    label = press.label(answer)
    if label is not None:
        try:
            text = await _learn(press, answer, label)
        except TeachingError as error:
            # The buttons stay, so that it can be tried again.
            await reply(
                press.message, refusal(error, press.language, failed="teach_correction_failed")
            )
            return None
        if text is None:
            return press.notice("gone")
        await reply(press.message, text)
    await press.show_buttons(replies.answer_buttons(press.key, press.language, judged=True))
    return None


async def _learn(press: ButtonPress, answer: StoredAnswer, label: str) -> str | None:
    """Teach a model with one more photo; return what to say, or None if its sender was forgotten.

    Raises:
        TeachingError: It cannot be taught; nothing was changed.
        Exception: As in `correct`.
    """
    context, taught = press.context, press.context.bot_data.taught
    async with press.photo(answer) as content:
        photo = LabelledPhoto(label, content, label, answer.person)
    owner = owner_of(press.message.chat.id)
    async with taught.places:
        result = await run_in_daemon_thread(partial(_teach, taught, owner, answer.model, photo))
    if answer.person is not None and await press.answer() is None:
        # The sender has asked to be forgotten meanwhile, which deleted the answer.
        await run_in_daemon_thread(partial(_forget, taught, answer.person))
        return None
    prediction = await context.predict(content, answer.model)
    await press.record_sender(answer, [prediction])
    verdict = locale.format_verdict(prediction, press.language)
    texts = locale.bot_texts(press.language)
    return texts["teach_better"].format(**result.texts(press.language), verdict=verdict)


def _teach(taught: TaughtModels, owner: str, model: str, photo: LabelledPhoto) -> Correction:
    return correct(taught.teaching(), owner, model, photo)


def _forget(taught: TaughtModels, person: str) -> None:
    taught.teaching().forget_sender(person)
