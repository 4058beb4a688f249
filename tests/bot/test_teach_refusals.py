"""Refusals of the bot during a lesson: it gives the reason, and the lesson continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import pytest

from bot.teaching_texts import refusal
from core.errors import TeachingError, TeachingReason
from core.store.lessons import LessonPhoto
from tests.support.drawings import shape_jpeg, with_pixel
from tests.support.running_bot import RunningBot, ask, texts
from tests.support.teaching_chats import bot_without_pictures, learn, send_class
from tests.support.telegram_server import TelegramServer

T = texts()


def refused(reason: TeachingReason, *names: str) -> str:
    """Return the text of a refusal."""
    return refusal(TeachingError(reason, "", *names), "en")


def send_album(telegram: TelegramServer, chat: int, label: str, photos: Sequence[bytes]) -> None:
    """Send photos as an album with a caption."""
    for i, photo in enumerate(photos):
        caption = label if i == 0 else None
        telegram.photo(chat, photo, caption=caption, media_group_id=f"{chat} {label}")


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBot]:
    """Return a bot that the tests of this module share."""
    with (
        TelegramServer().running() as server,
        bot_without_pictures(server, tmp_path_factory.mktemp("refuse")) as bot,
    ):
        yield bot


def test_invalid_names_and_a_single_class_are_refused(teaching: RunningBot, chat: int) -> None:
    telegram = teaching.telegram
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    for caption in ("None", "ｎｏｎｅ", "x" * 65, "a\u202eb"):
        photo = partial(telegram.photo, chat, shape_jpeg("circle", 0), caption=caption)
        assert ask(telegram, chat, photo).text == refused("bad_class")
    ask(telegram, chat, partial(send_class, telegram, chat, "Circle", range(3)))
    same = partial(telegram.photo, chat, shape_jpeg("circle", 3), caption="ＣＩＲＣＬＥ")
    assert ask(telegram, chat, same).text == T["teach_count"].format(label="Circle", n=4)
    assert learn(telegram, chat, "/teach done").text == refused("few_classes")
    for title in ("classic", "Classic CNN", "EFFICIENTNET"):
        done = partial(telegram.text, chat, f"/teach done {title}")
        assert ask(telegram, chat, done).text == refused("taken_model", title)
    for title in ("none", "x" * 65, "a\u202eb"):
        done = partial(telegram.text, chat, f"/teach done {title}")
        assert ask(telegram, chat, done).text == refused("bad_model")
    listed = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert listed.text == T["teach_list_none"], "nothing is half made"


def test_indistinguishable_photos_are_refused(teaching: RunningBot, chat: int) -> None:
    telegram = teaching.telegram
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    circles = [shape_jpeg("circle", seed) for seed in range(3)]
    ask(telegram, chat, partial(send_album, telegram, chat, "circle", circles))
    alike = [with_pixel(shape_jpeg("square", 0), level) for level in (110, 114, 118)]
    ask(telegram, chat, partial(send_album, telegram, chat, "square", alike))
    assert learn(telegram, chat, "/teach done").text == refused("alike", "square")
    ask(telegram, chat, lambda: telegram.text(chat, "/teach cancel"))
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    ask(telegram, chat, partial(send_album, telegram, chat, "ring", circles))
    copies = [with_pixel(circle, 116) for circle in circles]
    ask(telegram, chat, partial(send_album, telegram, chat, "round", copies))
    assert learn(telegram, chat, "/teach done").text == refused("copy", "ring", "round")
    ask(telegram, chat, partial(telegram.photo, chat, circles[0], caption="round"))
    twice = learn(telegram, chat, "/teach done").text
    assert twice == refused("two_classes", "ring", "round", "round 4")
    listed = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert listed.text == T["teach_list_none"], "nothing is half made"


@pytest.mark.parametrize(
    ("classes", "photos", "reason", "names"),
    [
        (50, 1, "many_classes", ()),
        (1, 200, "many_photos", ("0",)),
        (20, 125, "many_in_all", ()),
    ],
)
def test_too_many_photos_and_classes_are_refused_as_they_are_sent(
    teaching: RunningBot,
    chat: int,
    classes: int,
    photos: int,
    reason: TeachingReason,
    names: tuple[str, ...],
) -> None:
    telegram, lessons = teaching.telegram, teaching.store.lessons
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    now = datetime.now(UTC)
    sent = [
        LessonPhoto(f"{label}-{i}", "file", str(label), None, now)
        for label in range(classes)
        for i in range(photos)
    ]
    lessons.add(chat, sent)
    caption = names[0] if names else "another"
    last = ask(telegram, chat, partial(telegram.photo, chat, b"photo", caption=caption))
    error = TeachingError(reason, "", *names)
    assert last.text == refusal(error, "en", if_too_many="teach_not_added")
    cancelled = ask(telegram, chat, lambda: telegram.text(chat, "/teach cancel"))
    assert cancelled.text == T["teach_cancelled"]
    assert lessons.photos(chat) == []
