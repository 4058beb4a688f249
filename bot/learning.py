"""Learn from the photos of a chat's lesson: /teach done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial

from telegram import Message
from telegram.constants import ChatType
from telegram.error import TelegramError

from bot import replies
from bot.confusion_chart import confusion_caption, confusion_chart
from bot.photo_downloads import PhotoDownloads
from bot.sending import reply, reply_photo
from bot.state import BotContext, BotState
from bot.tasks import run_in_daemon_thread
from bot.taught_models import TaughtModels, owner_of
from bot.teaching_texts import report_text
from core.charts.chart import Chart
from core.errors import TeachingError
from core.registry.taught import TaughtRecord
from core.store.lessons import LessonPhoto
from core.teaching.collect import LabelledPhoto
from core.teaching.limits import MAX_NAME_LENGTH, comparison_key, model_title
from core.teaching.service import TaughtModel

__all__ = ["finish_lesson", "seconds_to_wait"]

_MINUTE_S = 60.0


async def finish_lesson(context: BotContext, message: Message, title: str) -> None:
    """Learn from the photos of a chat's lesson, report the accuracy, and end the lesson.

    If the process dies in between, the update is handled again, with the same result.

    Args:
        context: Context of the update.
        message: The command.
        title: Name of the new model; empty for one made of the names of its classes.

    Raises:
        TeachingError: It cannot be taught; the lesson goes on.
        Exception: As in `Teaching.create`.
    """
    chat, state, texts = message.chat.id, context.bot_data, await context.texts()
    if await asyncio.to_thread(state.store.lessons.find, chat) is None:
        await reply(message, texts["teach_nothing"])
        return
    if not context.is_operator and await state.maintenance():
        await reply(message, texts["teach_maintenance"])
        return
    photos = await asyncio.to_thread(state.store.lessons.photos, chat)
    if not photos:
        raise TeachingError("no_photos", "No photo was sent.")
    wanted = title
    model, title = await _choose_model(context, chat, photos, wanted)
    keeps_name = model is not None and wanted and comparison_key(wanted) != comparison_key(title)
    await _wait_for_turn(context, message, photos, keeps_name=title if keeps_name else None)
    names, result = await _learn(context, chat, photos, model, title)
    if await _forget_missing(context, chat, photos):
        await reply(message, texts["teach_changed"])
    else:
        await _send_result(context, message, result, names)
    await asyncio.to_thread(state.store.lessons.end, chat)
    state.learning_notices.discard(context.current_update.update_id)


def seconds_to_wait(
    photos: Sequence[LessonPhoto], limit: int, now: float, *, minute_s: float = _MINUTE_S
) -> float:
    """Return how long to wait so that a chat learns from no more photos than it may send.

    Args:
        photos: The photos of its lesson.
        limit: Maximum number of photos per minute.
        now: Current time, in seconds since the epoch.
        minute_s: See `Timings.lesson_minute_s`.

    Returns:
        Seconds; 0 if the photos of the last minute are within the limit.
    """
    recent = sum(photo.at.timestamp() > now - minute_s for photo in photos)
    return max(0, recent - limit) * minute_s / limit


class _Downloads:
    """Downloads for threads, which wait for the event loop until `stop` is called.

    Create it in the event loop.

    Args:
        photos: Downloads of photos.
    """

    def __init__(self, photos: PhotoDownloads) -> None:
        self._photos = photos
        self._loop = asyncio.get_running_loop()
        self._running: set[concurrent.futures.Future[bytes]] = set()
        self._stopped = threading.Event()

    def fetch(self, file: str) -> bytes:
        """Download a photo; called from a thread.

        Raises:
            concurrent.futures.CancelledError: Downloads are stopped.
            Exception: As in `PhotoDownloads.open`.
        """
        if self._stopped.is_set():
            raise concurrent.futures.CancelledError
        future = asyncio.run_coroutine_threadsafe(self._download(file), self._loop)
        self._running.add(future)
        if self._stopped.is_set():
            future.cancel()
        try:
            return future.result()
        finally:
            self._running.discard(future)

    def stop(self) -> None:
        """Cancel all downloads, since threads would wait forever for a loop that has ended."""
        self._stopped.set()
        for future in list(self._running):
            future.cancel()

    async def _download(self, file: str) -> bytes:
        async with self._photos.open(file) as photo:
            return photo


async def _send_result(
    context: BotContext, message: Message, result: TaughtModel, names: Collection[str]
) -> None:
    """Report the accuracy of a taught model; a picture of its confusion matrix follows."""
    config, language = result.bundle.config, await context.language()
    text = report_text(config.title, result.report, names, language)
    await reply(message, text, replies.use_button(config.name, language))
    chart = confusion_chart(config.title, result.report, language)
    caption = confusion_caption(chart, language)
    # In the background: the chat's next photos do not wait for a picture.
    context.bot_data.tasks.start(_send_picture(context.bot_data, message, chart, caption))


async def _send_picture(state: BotState, message: Message, chart: Chart, caption: str) -> None:
    picture = await run_in_daemon_thread(partial(state.charts.draw, chart))
    if picture is not None:
        with suppress(TelegramError):  # The chat may not allow photos.
            await reply_photo(message, picture, caption)


async def _choose_model(
    context: BotContext, chat: int, photos: Sequence[LessonPhoto], wanted: str
) -> tuple[str | None, str]:
    """Return the model that learns more, None for a new one, and its title.

    Raises:
        TeachingError: The title cannot be used.
    """
    taught, lessons = context.bot_data.taught, context.bot_data.store.lessons
    lesson = await asyncio.to_thread(lessons.find, chat)
    own = [each for each in await taught.of_chat(chat) if taught.is_own(chat, each)]
    for each in own:
        if lesson is not None and each.id == lesson.model:
            return each.id, each.title
    # A new one, also where the model that should learn more has been deleted since.
    earlier = _titled(own, lesson.title) if lesson is not None and lesson.title else None
    if earlier is not None:
        # Made of this lesson by an attempt that was interrupted before the lesson ended.
        return earlier.id, earlier.title
    if wanted:
        title = model_title(wanted)
        if _titled(own, title) is not None or await _is_listed(context, title):
            raise TeachingError("taken_model", "The chat has a classifier of that name.", title)
    else:
        title = _default_title(photos, own)
    await asyncio.to_thread(lessons.set_title, chat, title)
    return None, title


async def _is_listed(context: BotContext, title: str) -> bool:
    """Return whether a title is that of a model that all chats may select, or its name."""
    models = await context.bot_data.models.all()
    names = [name for each in models for name in (each.config.name, each.config.title)]
    return comparison_key(title) in {comparison_key(name) for name in names}


def _default_title(photos: Sequence[LessonPhoto], own: Sequence[TaughtRecord]) -> str:
    """Return a title that names the classes and is not taken."""
    named = ", ".join(dict.fromkeys(photo.label for photo in photos))
    title, number = named[:MAX_NAME_LENGTH].strip(), 2
    while _titled(own, title) is not None:
        suffix = f" ({number})"
        title, number = named[: MAX_NAME_LENGTH - len(suffix)].strip() + suffix, number + 1
    return title


def _titled(records: Sequence[TaughtRecord], title: str) -> TaughtRecord | None:
    wanted = comparison_key(title)
    return next((each for each in records if comparison_key(each.title) == wanted), None)


async def _wait_for_turn(
    context: BotContext,
    message: Message,
    photos: Sequence[LessonPhoto],
    *,
    keeps_name: str | None = None,
) -> None:
    """Tell the chat that learning begins, and wait if it has sent too many photos in a minute.

    The chat is told once, however often learning is retried.

    Args:
        context: Context of the update.
        message: The command.
        photos: Photos of the lesson.
        keeps_name: Name of a model that learns more, where the command gives another one.
    """
    texts, notices = await context.texts(), context.bot_data.learning_notices
    in_group = message.chat.type != ChatType.PRIVATE
    limit = context.bot_data.photo_rate.photos_per_minute(in_group=in_group)
    minute_s = context.bot_data.timings.lesson_minute_s
    seconds = seconds_to_wait(photos, limit, time.time(), minute_s=minute_s)
    lines = [texts["teach_learning"].format(n=len(photos))]
    if keeps_name is not None:
        lines.append(texts["teach_keeps_name"].format(title=keeps_name))
    if seconds:
        lines.append(texts["teach_wait"].format(limit=limit, seconds=round(seconds + 0.5)))
    if context.current_update.update_id not in notices:
        await reply(message, "\n".join(lines))
        notices.add(context.current_update.update_id)
    await asyncio.sleep(seconds)


async def _learn(
    context: BotContext, chat: int, photos: Sequence[LessonPhoto], model: str | None, title: str
) -> tuple[set[str], TaughtModel]:
    """Teach a model; return the names of the photos in its report, and the model."""
    state, numbers, labelled = context.bot_data, Counter[str](), []
    downloads = _Downloads(state.photos)
    for photo in photos:
        numbers[photo.label] += 1
        name = f"{photo.label} {numbers[photo.label]}"
        fetch = partial(downloads.fetch, photo.file)
        labelled.append(LabelledPhoto(photo.label, fetch, name, photo.person))
    work = partial(_teach, state.taught, owner_of(chat), model, title, labelled)
    async with state.taught.places:
        try:
            result = await run_in_daemon_thread(work)
        finally:
            downloads.stop()
    return {photo.name for photo in labelled}, result


def _teach(
    taught: TaughtModels,
    owner: str,
    model: str | None,
    title: str,
    photos: Sequence[LabelledPhoto],
) -> TaughtModel:
    teaching = taught.teaching()
    if model is None:
        return teaching.create(owner, title, photos)
    return teaching.add_photos(owner, model, photos)


async def _forget_missing(context: BotContext, chat: int, photos: Sequence[LessonPhoto]) -> bool:
    """Remove photos of senders who asked to be forgotten meanwhile; return whether any did.

    /forget deletes the references to their photos first, and looks for models afterwards.
    """
    state = context.bot_data
    left = {photo.photo for photo in await asyncio.to_thread(state.store.lessons.photos, chat)}
    missing = {photo.person for photo in photos if photo.photo not in left and photo.person}
    for person in missing:
        teaching = await run_in_daemon_thread(state.taught.teaching)
        await run_in_daemon_thread(partial(teaching.forget_sender, person))
    return bool(missing)
