"""Take the photos of a chat that is teaching the bot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from telegram import Chat, Message, MessageEntity, User
from telegram.constants import ChatType

from bot.guards import is_addressed
from bot.sending import reply
from bot.state import BotContext
from bot.teaching_texts import refusal
from bot.updates import content_id_of, photo_of, sender_id_of
from core.errors import ModelNotFoundError, TeachingError
from core.store.lessons import Lesson, LessonPhoto
from core.teaching.limits import (
    MAX_CLASSES,
    MAX_PHOTOS,
    MAX_TOTAL_PHOTOS,
    class_name,
    comparison_key,
)

__all__ = ["is_teacher", "labels_of", "may_teach", "take_photos"]


async def may_teach(context: BotContext, message: Message) -> bool:
    """Return whether the sender of a message may teach in its chat, as `is_teacher`."""
    if message.chat.type == ChatType.PRIVATE:
        return True
    if message.sender_chat is not None:
        # Administrators may write in the name of the group.
        return message.sender_chat.id == message.chat.id
    return await is_teacher(context, message.chat, message.from_user)


async def is_teacher(context: BotContext, chat: Chat, user: User | None) -> bool:
    """Return whether a user may teach in a chat; in a group, only administrators may.

    Args:
        context: Context of the update.
        chat: The chat.
        user: The user; None for an anonymous sender, who may teach in private chats only.
    """
    if chat.type == ChatType.PRIVATE:
        return True
    if user is None:
        return False
    # A bot that is not an administrator itself may ask about administrators, and no other member.
    administrators = await context.bot.get_chat_administrators(chat.id)
    return any(member.user.id == user.id for member in administrators)


async def take_photos(context: BotContext, messages: Sequence[Message]) -> bool:
    """Add the photos of a message or album to the lesson of its chat.

    Args:
        context: Context of the update.
        messages: The message, or the items of the album in order.

    Returns:
        False if they are not meant for a lesson: nothing was done.
    """
    chat, lessons = messages[0].chat.id, context.bot_data.store.lessons
    photos = [message for message in messages if photo_of(message) is not None]
    lesson = await asyncio.to_thread(lessons.find, chat) if photos else None
    if lesson is None or not await _is_for_lesson(context, messages, lesson):
        return False
    language, texts = await context.language(), await context.texts()
    known = await asyncio.to_thread(lessons.photos, chat)
    taught = await _taught_counts(context, lesson)
    try:
        labels = labels_of(
            [_caption_of(message, context.bot.username) for message in messages],
            lesson.label,
            [*taught, *(photo.label for photo in known)],
        )
        taken = [
            found
            for message, label in zip(messages, labels, strict=True)
            if label and (found := _lesson_photo(context, message, label)) is not None
        ]
        counts = _counts(taught, known, taken)
    except TeachingError as error:
        await reply(messages[0], refusal(error, language, if_too_many="teach_not_added"))
        return True
    async with context.keeping() as may_keep:
        if not may_keep:
            return True
        if taken:
            await asyncio.to_thread(lessons.add, chat, taken)
    touched = dict.fromkeys(photo.label for photo in taken)
    lines = [texts["teach_count"].format(label=label, n=counts[label]) for label in touched]
    if len(taken) < len(photos):
        lines.append(texts["teach_no_caption"])
    elif touched.keys() - {*taught, *(photo.label for photo in known)}:
        lines.append(texts["teach_next"])
    await reply(messages[0], "\n".join(lines))
    return True


def labels_of(
    captions: Sequence[str], current: str | None, known: Sequence[str]
) -> list[str | None]:
    """Return the class of each photo of a message or album.

    A caption holds for the photos from there on. If an album has one caption only and no class was
    named before, it holds for all photos of the album.

    Args:
        captions: Caption of each photo; empty for none.
        current: Class of photos without a caption.
        known: Names of classes so far; of names that read the same, the first one is used.

    Raises:
        TeachingError: A caption cannot be the name of a class.
    """
    spellings: dict[str, str] = {}
    for label in known:
        spellings.setdefault(comparison_key(label), label)
    named = [class_name(caption) if caption else None for caption in captions]
    distinct = {comparison_key(name) for name in named if name}
    if current is None and len(distinct) == 1:
        current = next(name for name in named if name)
    found: list[str | None] = []
    for name in named:
        current = current if name is None else spellings.setdefault(comparison_key(name), name)
        found.append(current)
    return found


async def _is_for_lesson(context: BotContext, messages: Sequence[Message], lesson: Lesson) -> bool:
    """Return whether photos are meant for a lesson.

    All photos of the person who began it are; in a group, also those that other administrators
    address to the bot.
    """
    # A lesson has no teacher any more once they have asked to be forgotten.
    by_teacher = lesson.teacher is not None and context.person == lesson.teacher
    if messages[0].chat.type == ChatType.PRIVATE or by_teacher:
        return True
    addressed = any(is_addressed(message, context) for message in messages)
    return addressed and await may_teach(context, messages[0])


async def _taught_counts(context: BotContext, lesson: Lesson) -> Counter[str]:
    """Return the photos of each class that the model of a lesson was taught with before."""
    if lesson.model is None:
        return Counter()
    try:
        model = await context.bot_data.models.get(lesson.model)
    except ModelNotFoundError:
        return Counter()  # It has been deleted since: the lesson makes a new one.
    metrics = model.metrics.taught
    photos = (0,) * len(model.config.labels) if metrics is None else metrics.photos
    return Counter(dict(zip(model.config.labels, photos, strict=True)))


def _caption_of(message: Message, username: str) -> str:
    """Return the caption of a message in one line, without mentions of the bot."""
    caption = message.caption or ""
    for entity, text in message.parse_caption_entities([MessageEntity.MENTION]).items():
        if text.lower() == f"@{username}".lower():
            caption = caption.replace(message.parse_caption_entity(entity), "")
    return " ".join(caption.split())


def _lesson_photo(context: BotContext, message: Message, label: str) -> LessonPhoto | None:
    found, content = photo_of(message), content_id_of(message)
    if found is None or content is None:
        return None
    person = context.bot_data.person(sender_id_of(message))
    return LessonPhoto(content, found.file_id, label, person, message.date)


def _counts(
    taught: Counter[str], known: Sequence[LessonPhoto], added: Sequence[LessonPhoto]
) -> Counter[str]:
    """Count the photos of each class once some were added.

    Args:
        taught: Photos of each class that the model was taught with before. Only learning finds out
            which of them are sent again.
        known: Photos of the lesson.
        added: Photos that are added to it.

    Raises:
        TeachingError: There would be more than can be taught.
    """
    labels = {photo.photo: photo.label for photo in (*known, *added)}
    counts = taught + Counter(labels.values())
    many = [label for label, n in counts.items() if n > MAX_PHOTOS]
    if many:
        raise TeachingError("many_photos", "Too many photos of a class.", *many)
    if len(counts) > MAX_CLASSES:
        raise TeachingError("many_classes", "Too many classes.")
    if counts.total() > MAX_TOTAL_PHOTOS:
        raise TeachingError("many_in_all", "Too many photos.")
    return counts
