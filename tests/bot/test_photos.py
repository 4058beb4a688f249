"""Photos, albums and the commands about a photo."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from core import locale
from core.registry.catalog import Catalog
from tests.support import drawings
from tests.support.running_bot import (
    MENTION,
    RunningBot,
    ask,
    photo_message,
    press,
    running_bot,
    texts,
)
from tests.support.telegram_server import BOT, TelegramServer

BUTTONS = [texts()[key] for key in ("why", "compare", "right", "wrong", "model")]


def send_album(telegram: TelegramServer, chat: int, photos: list[bytes], **more: Any) -> list[int]:
    """Send photos as an album, with fields of the first message; return the messages' ids."""
    album = f"album-{chat}"
    first, *others = photos
    messages = [telegram.photo(chat, first, media_group_id=album, **more)]
    return messages + [telegram.photo(chat, each, media_group_id=album) for each in others]


VIDEO = {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}


@pytest.mark.parametrize("kind", ["photo", "document"])
def test_photo_gets_verdict_scores_and_buttons(
    bot: RunningBot, content: bytes, catalog: Catalog, chat: int, kind: str
) -> None:
    message = getattr(bot.telegram, kind)(chat, content)
    (reply,) = bot.telegram.wait_for(1, chat)
    expected = catalog.load("classic").predict(content)
    assert reply.reply_to == message
    verdict, _, *top, _, model = reply.text.splitlines()
    assert verdict == locale.format_verdict(expected)
    assert top == [
        f"{label} {locale.percent(score)}" for label, score in list(expected.scores.items())[:3]
    ]
    assert model == "Classic CNN"
    assert list(reply.buttons()) == BUTTONS
    assert all(len(data.encode()) <= 64 for data in reply.buttons().values())


def test_photo_is_answered_in_dutch(bot: RunningBot, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    telegram.user(chat, "nl")
    reply = ask(telegram, chat, lambda: telegram.photo(chat, content))
    assert reply.text.startswith("Een schip (")
    keys = ("why", "compare", "right", "wrong", "model")
    assert list(reply.buttons()) == [texts("nl")[key] for key in keys]


def test_photo_of_model_with_other_labels_gets_those_labels(
    telegram: TelegramServer, tmp_path: Path, content: bytes, made_models: Path
) -> None:
    labels = ["red square", "green bar", "blue sky"]
    with running_bot(telegram, tmp_path, models=made_models, model="shapes"):
        help_text = ask(telegram, 1, lambda: telegram.text(1, "/help")).text
        assert ", ".join(labels) in help_text
        assert "airplane" not in help_text
        reply = ask(telegram, 1, lambda: telegram.photo(1, content))
        _, _, *top, _, title = reply.text.splitlines()
        assert {line.rpartition(" ")[0] for line in top} == set(labels)
        assert title == "Shapes"
        classes, _ = press(telegram, 1, reply, texts()["wrong"])
        assert set(labels) < set(classes.buttons())


def test_photo_too_large_is_refused_before_download(
    bot: RunningBot, content: bytes, chat: int
) -> None:
    telegram = bot.telegram
    reply = ask(telegram, chat, lambda: telegram.document(chat, b"x", file_size=21 * 2**20))
    assert "20 MB" in reply.text
    assert telegram.calls[-1].method != "getFile"


def test_non_image_file_is_refused(bot: RunningBot, chat: int) -> None:
    telegram = bot.telegram
    reply = ask(telegram, chat, lambda: telegram.document(chat, b"text", "image/png"))
    assert "JPEG, PNG" in reply.text


def test_file_of_unknown_type_is_recognised_by_its_name(
    bot: RunningBot, content: bytes, chat: int
) -> None:
    telegram = bot.telegram
    file = {"file_id": telegram.add_file(content), "file_unique_id": "u"}
    file |= {"mime_type": "application/octet-stream", "file_name": "ship.JPG"}
    reply = ask(telegram, chat, lambda: telegram.message(chat, document=file))
    assert reply.text.startswith("A ship")


def test_album_gets_one_numbered_reply(bot: RunningBot, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    buffer = io.BytesIO()
    drawings.gradient(300, 200).save(buffer, "PNG")
    first, *_ = send_album(telegram, chat, [content, b"no photo", buffer.getvalue()])
    telegram.text(chat, "/whoami")
    reply, after = telegram.wait_for(2, chat)
    assert reply.reply_to == first
    one, two, three, _, model = reply.text.splitlines()
    assert one.startswith("1. A ship (")
    assert two.startswith("2. ⚠ ")
    assert three.startswith("3. None of the ten")
    assert model == "Classic CNN"
    assert after.text == texts()["whoami"].format(id=chat), "answered after the album"


def test_album_reply_marks_a_video(bot: RunningBot, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    telegram.photo(chat, content, media_group_id=f"mixed-{chat}")
    telegram.message(chat, video=VIDEO, media_group_id=f"mixed-{chat}")
    (reply,) = telegram.wait_for(1, chat)
    assert reply.text.splitlines()[1] == f"2. {texts()['no_photo']}"


def test_album_without_photos_gets_an_explanation(bot: RunningBot, chat: int) -> None:
    telegram = bot.telegram
    for _ in range(2):
        telegram.message(chat, video=VIDEO, media_group_id=f"videos-{chat}")
    (reply,) = telegram.wait_for(1, chat)
    assert reply.text == texts()["other"]


@pytest.mark.parametrize(
    ("command", "text"), [("/compare", "Baseline CNN: "), ("/explain", "ship")]
)
def test_photo_command_answers_about_the_photo_it_replies_to(
    bot: RunningBot, content: bytes, chat: int, command: str, text: str
) -> None:
    telegram = bot.telegram
    reply = ask(telegram, chat, lambda: telegram.text(chat, command))
    assert reply.text == texts()["reply_to_photo"]
    message = photo_message(telegram, content, chat)
    reply = ask(telegram, chat, lambda: telegram.text(chat, command, reply_to_message=message))
    assert text in reply.text


def test_photo_in_group_is_answered_if_it_addresses_the_bot(
    bot: RunningBot, content: bytes, group: int
) -> None:
    telegram = bot.telegram
    telegram.photo(group, content, user=1)
    telegram.text(group, "hello", user=1)
    telegram.text(group, "/nonsense", user=1)
    telegram.message(group, contact={"phone_number": "1", "first_name": "x"}, user=1)
    entities = [{"type": "mention", "offset": 5, "length": 13}]
    mentions_bot = telegram.photo(
        group, content, caption="what @tensight_bot", caption_entities=entities, user=1
    )
    own = {"message_id": 4, "date": 1, "chat": {"id": group, "type": "supergroup"}, "from": BOT}
    replies_to_bot = telegram.photo(group, content, reply_to_message=own | {"text": "x"}, user=1)
    message = photo_message(telegram, content, group)
    telegram.text(group, "/what", reply_to_message=message, user=1)
    replies = telegram.wait_for(3, group)
    assert [reply.reply_to for reply in replies] == [
        mentions_bot,
        replies_to_bot,
        message["message_id"],
    ]
    assert all(reply.text.startswith("A ship") for reply in replies)
    first, _ = send_album(telegram, group, [content, content], **MENTION)
    assert telegram.wait_for(4, group)[-1].reply_to == first


def test_forwarded_photo_is_answered(bot: RunningBot, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Somebody"}
    reply = ask(telegram, chat, lambda: telegram.photo(chat, content, forward_origin=origin))
    assert reply.text.startswith("A ship")


def test_photo_in_topic_is_answered_in_the_topic(
    bot: RunningBot, content: bytes, group: int
) -> None:
    telegram = bot.telegram
    telegram.photo(group, content, message_thread_id=77, is_topic_message=True, **MENTION)
    (reply,) = telegram.wait_for(1, group)
    assert reply.data.get("message_thread_id") == "77"
