"""The operators' command /label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import locale
from core.store.chats import Chat
from core.store.feedback import Feedback, FeedbackTable, StorageLimits
from core.store.feedback_export import export_photos
from core.store.store import Store
from tests.support.labelling import (
    OPERATOR,
    USER,
    consent,
    message_number,
    operated_bot,
    send,
    show,
)
from tests.support.rollouts import MODEL
from tests.support.running_bot import RunningBot, ask, press, texts
from tests.support.telegram_server import BOT_ID, Call, TelegramServer

T = texts()
OTHER = 504


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    with operated_bot(telegram, tmp_path) as bot:
        yield bot


def push(bot: RunningBot, message: Call, button: str) -> list[Call]:
    """Press a button; return the calls that follow."""
    before = len(bot.telegram.sent(OPERATOR))
    press(bot.telegram, OPERATOR, message, button, photo=True)
    bot.wait_until_idle()
    return bot.telegram.sent(OPERATOR)[before:]


def test_photos_of_consenting_people_are_labelled_one_by_one(
    operated: RunningBot, content: bytes, tmp_path: Path
) -> None:
    send(operated, content)  # before its sender agrees
    agreed = consent(operated)
    assert T["labels_on"] in agreed.text
    send(operated, content)
    send(operated, content + b"\0")
    send(operated, content, OTHER)
    message = show(operated)
    assert message.method == "sendPhoto"
    assert message.text == T["label_asked"].format(n=2)
    assert list(message.buttons())[-3:] == [T["none_of_these"], T["label_skip"], T["label_end"]]
    (photo,) = message.files.values()
    assert b"Exif" not in photo
    (following,) = push(operated, message, "ship")
    assert following.method == "editMessageMedia"
    assert following.text == T["label_asked"].format(n=1)
    message.data["reply_markup"] = following.data["reply_markup"]
    deleted, ended = push(operated, message, T["none_of_these"])
    assert deleted.method == "deleteMessage"
    assert ended.text == T["label_none"]
    assert export_photos(operated.settings, tmp_path / "export", ["ship"]) == (0, 1), (
        "the same photo with two labels"
    )
    assert sorted(truth for _, truth, _ in operated.store.feedback.photos()) == ["none", "ship"]


def send_album(bot: RunningBot, *photos: bytes, user: int = USER) -> None:
    album = f"album-{len(bot.telegram.files)}"

    def send_all() -> None:
        for photo in photos:
            bot.telegram.photo(user, photo, media_group_id=album)

    ask(bot.telegram, user, send_all)
    bot.wait_until_idle()


def test_photos_of_an_album_wait_for_labels(operated: RunningBot, content: bytes) -> None:
    photos = content + b"\0", b"no photo", content + b"\0\0"
    send_album(operated, *photos)  # before its sender agrees
    assert operated.store.labels.waiting() == []
    consent(operated)
    send_album(operated, *photos)
    assert len({each.key for each in operated.store.labels.waiting()}) == 2
    message = show(operated)
    assert message.text == T["label_asked"].format(n=2)
    (following,) = push(operated, message, "ship")
    assert following.text == T["label_asked"].format(n=1)
    ((_, truth, _),) = operated.store.feedback.photos()
    assert truth == "ship"
    ask(operated.telegram, USER, lambda: operated.telegram.text(USER, "/forget"))
    assert operated.store.labels.waiting() == []


def test_skipped_photo_is_not_stored(operated: RunningBot, content: bytes) -> None:
    consent(operated)
    send(operated, content)
    push(operated, show(operated), T["label_skip"])
    assert show(operated).text == T["label_none"]
    assert list(operated.store.feedback.photos()) == []


def test_labelling_can_be_stopped(operated: RunningBot, content: bytes) -> None:
    consent(operated)
    send(operated, content)
    deleted, ended = push(operated, show(operated), T["label_end"])
    assert deleted.method == "deleteMessage"
    assert ended.text == T["label_ended"].format(n=1)
    assert show(operated).method == "sendPhoto"


@pytest.mark.parametrize(
    ("limits", "language", "told"),
    [
        (StorageLimits(person_feedback=0), "nl", "label_full"),
        (StorageLimits(feedback=0), "de", "label_full"),
        (StorageLimits(person_photos=0), "en", "label_without_photo"),
        (StorageLimits(photo_bytes=0), "nl", "label_without_photo"),
    ],
)
def test_operator_is_told_what_the_storage_limits_keep_out(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    limits: StorageLimits,
    language: str,
    told: str,
) -> None:
    def limit(store: Store) -> Store:
        return replace(store, feedback=FeedbackTable(store.database, limits))

    with operated_bot(telegram, tmp_path, parts=limit) as bot:
        bot.store.chats.set(OPERATOR, Chat(language=language))
        consent(bot)
        send(bot, content)
        ship = locale.label_name("ship", language)
        _, notice = press(telegram, OPERATOR, show(bot), ship, photo=True)
        assert notice.text == texts(language)[told]
        assert notice.data["show_alert"] == "true"
        stored = sum(each.n for each in bot.store.feedback.stats(labels=True))
        assert stored == (told == "label_without_photo")
        assert list(bot.store.feedback.photos()) == []


def test_next_photo_is_sent_if_the_message_was_deleted(
    operated: RunningBot, content: bytes
) -> None:
    consent(operated)
    send(operated, content)
    send(operated, content + b"\0")
    message = show(operated)
    operated.telegram.faults.reasons["editMessageMedia"] = [
        "Bad Request: message to edit not found"
    ]
    (sent,) = push(operated, message, "ship")
    assert (sent.method, sent.text) == ("sendPhoto", T["label_asked"].format(n=1))
    (shown,) = operated.store.label_messages.of_chat(BOT_ID, OPERATOR)
    assert shown.message == message_number(sent)


@pytest.mark.parametrize("way", ["withdrawn", "forgotten"])
def test_photo_is_not_stored_after_consent_is_withdrawn(
    operated: RunningBot, content: bytes, way: str
) -> None:
    consent(operated)
    send(operated, content)
    message = show(operated)
    if way == "withdrawn":
        ended = consent(operated, button="let_label_on")
        assert T["not_kept"] in ended.text
    else:
        ask(operated.telegram, USER, lambda: operated.telegram.text(USER, "/forget"))
    _, notice = press(operated.telegram, OPERATOR, message, "ship", photo=True)
    assert notice.text == T["label_gone"]
    assert list(operated.store.feedback.photos()) == []


def test_photo_deleted_by_telegram_is_left_out(operated: RunningBot, content: bytes) -> None:
    consent(operated)
    send(operated, content)
    operated.telegram.faults.gone = set(operated.telegram.files)
    assert show(operated).text == T["label_none"]
    assert operated.store.labels.waiting() == []


def test_nobody_else_can_label(operated: RunningBot, content: bytes) -> None:
    consent(operated)
    send(operated, content)
    message, telegram = show(operated), operated.telegram
    press(telegram, OPERATOR, message, "ship", user=USER, photo=True)
    assert ask(telegram, USER, lambda: telegram.text(USER, "/label")).text == T["unknown"]
    assert len(operated.store.labels.waiting()) == 1


def test_photo_asked_about_by_another_user_is_not_in_the_queue(
    operated: RunningBot, content: bytes
) -> None:
    operated.store.chats.set(USER, Chat(may_label=True))
    telegram, group = operated.telegram, -77
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    chat = {"id": group, "type": "supergroup"}
    asked = {"message_id": 4, "date": 1, "chat": chat, "photo": [size]}
    about = asked | {"from": telegram.user(OTHER)}
    ask(telegram, group, lambda: telegram.text(group, "/what", user=USER, reply_to_message=about))
    operated.wait_until_idle()
    assert operated.store.labels.waiting() == []


@pytest.mark.parametrize(("n", "shown"), [(19, False), (20, True)])
def test_digest_says_what_new_labels_show(operated: RunningBot, n: int, shown: bool) -> None:
    revision = operated.state.predictor.model(MODEL).revision or ""
    for i in range(n):
        truth = "cat" if i < 15 else "dog"
        said = Feedback("label", MODEL, revision, "cat", "known", {"cat": 1.0}, truth)
        operated.store.feedback.add(said)
    telegram = operated.telegram
    telegram.text(OPERATOR, "/digest")
    text = telegram.wait_for(2, OPERATOR)[0].text
    line = T["digest_labels"].format(n=20, share="75% (53–89%)")
    assert (line in text) == shown


def test_digest_does_not_apply_old_labels_to_a_new_revision(
    operated: RunningBot,
) -> None:
    for _ in range(20):
        said = Feedback("label", MODEL, "0" * 12, "cat", "known", {"cat": 1.0}, "cat")
        operated.store.feedback.add(said)
    telegram = operated.telegram
    telegram.text(OPERATOR, "/digest")
    text = telegram.wait_for(2, OPERATOR)[0].text
    assert T["digest_labels_old"].format(n=20) in text
