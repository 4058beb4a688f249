"""Commands that everyone may use."""

from __future__ import annotations

import io
import re
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from telegram.constants import MessageLimit

from bot import replies
from core import locale
from core.store.chats import Chat
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    GROUP,
    MENTION,
    RunningBot,
    anonymous,
    ask,
    photo_message,
    press,
    running_bot,
    texts,
)
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()
LABELS = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"
SENDER, MEMBER = 1, 2


def test_start_explains_the_bot(bot: RunningBot, chat: int) -> None:
    reply = ask(bot.telegram, chat, lambda: bot.telegram.text(chat, "/start"))
    assert reply.text == T["start"]


def test_help_names_the_labels(bot: RunningBot, chat: int) -> None:
    reply = ask(bot.telegram, chat, lambda: bot.telegram.text(chat, "/help"))
    assert LABELS in reply.text


def test_model_is_selected_for_the_chat_and_survives_a_restart(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path):
        offer = ask(telegram, 1, lambda: telegram.text(1, "/model"))
        name = next(name for name in offer.buttons() if name.startswith("Airbench CNN"))
        shown, _ = press(telegram, 1, offer, name)
        assert shown.text == T["chosen_model"].format(model="Airbench CNN")
    with running_bot(telegram, tmp_path):
        for chat, title in ((1, "Airbench CNN"), (2, "Classic CNN")):
            reply = ask(telegram, chat, partial(telegram.photo, chat, content))
            assert reply.text.endswith(title)


def test_language_defaults_to_that_of_telegram(bot: RunningBot, chat: int) -> None:
    telegram = bot.telegram
    telegram.user(chat, "nl-BE")
    offer = ask(telegram, chat, lambda: telegram.text(chat, "/language"))
    assert offer.text == texts("nl")["choose_language"]
    shown, _ = press(telegram, chat, offer, "English")
    assert shown.text == T["chosen_language"]
    assert ask(telegram, chat, lambda: telegram.text(chat, "/start")).text == T["start"]


def test_stats_count_answers_and_feedback(bot: RunningBot, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    for button in ("right", "wrong"):
        reply = ask(telegram, chat, lambda: telegram.photo(chat, content))
        shown, _ = press(telegram, chat, reply, T[button])
        if button == "wrong":
            press(telegram, chat, shown, "truck")
    stats = ask(telegram, chat, lambda: telegram.text(chat, "/stats"))
    assert stats.text.startswith(T["stats"].format(days=7, n=2, judged=2, right=1))
    assert T["stats_models"] in stats.text
    assert "Classic CNN (" in stats.text


def test_privacy_lets_users_agree_to_the_storage_of_photos(
    bot: RunningBot, content: bytes, chat: int
) -> None:
    telegram = bot.telegram

    def stored() -> list[tuple[str, bytes]]:
        return [(truth, photo) for _, truth, photo in bot.store.feedback.photos()]

    def stored_after_feedback() -> list[tuple[str, bytes]]:
        reply = ask(telegram, chat, lambda: telegram.photo(chat, content))
        press(telegram, chat, reply, T["right"])
        return stored()

    before = stored()
    assert stored_after_feedback() == before
    offer = ask(telegram, chat, lambda: telegram.text(chat, "/privacy"))
    assert "7" in offer.text
    assert offer.text.endswith(T["not_kept"])
    agreed, _ = press(telegram, chat, offer, T["keep_off"])
    assert agreed.text.endswith(T["kept"])
    assert list(agreed.buttons()) == [T["keep_on"], T["let_label_off"]]
    *_, (truth, photo) = stored_after_feedback()
    assert truth == "ship"
    with Image.open(io.BytesIO(photo)) as image:
        assert not image.getexif()


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_privacy_text_fits_a_message_and_names_its_exceptions(language: locale.Language) -> None:
    text, _ = replies.privacy_text(365, language, keeps=True, labels=True, taught=["x" * 64] * 10)
    assert len(text) <= MessageLimit.MAX_TEXT_LENGTH
    assert text.count("365") == 4, "answers, comparisons, counts of a canary, and lessons"
    words = {"en": "anonymous", "nl": "anoniem", "de": "anonym"}
    assert text.lower().count(words[language]) >= 3


@pytest.mark.parametrize(
    ("language", "numbers", "no_photos"),
    [
        ("en", "numbers computed from each photo", "; no photos."),
        ("nl", "getallen die uit elke foto zijn berekend", "; geen foto's."),
        ("de", "Zahlen, die aus jedem Foto berechnet sind", "; keine Fotos."),
    ],
)
def test_privacy_text_says_what_teaching_stores(
    language: locale.Language, numbers: str, no_photos: str
) -> None:
    text, _ = replies.privacy_text(45, language, keeps=False, labels=False, taught=[])
    (stored,) = (line for line in text.splitlines() if numbers in line)
    assert stored.endswith(no_photos)
    assert "45" in stored, "days that references to the photos of a lesson are kept"
    assert any("/teach offer" in line for line in text.splitlines()), "what operators see"


def test_database_holds_hashes_of_users(bot: RunningBot, content: bytes) -> None:
    telegram, chat = bot.telegram, 987654321
    ask(telegram, chat, lambda: telegram.photo(chat, content))
    connection = bot.store.database.engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    dump = "\n".join(connection.iterdump())
    rows = [line for line in dump.splitlines() if str(chat) in line]
    # The inbox, and the tables that say whose turn a chat is, are addressed by chat.
    tables = {re.search('"([a-z_]+)"', row)[1] for row in rows}  # type: ignore[index]
    assert tables <= {"inbox", "chats", "lanes"}


def test_whoami_shows_the_users_id(bot: RunningBot, chat: int) -> None:
    reply = ask(bot.telegram, chat, lambda: bot.telegram.text(chat, "/whoami"))
    assert reply.text == T["whoami"].format(id=chat)


def test_group_settings_follow_a_migration(bot: RunningBot, group: int) -> None:
    bot.store.chats.set(group, Chat(model="baseline"))
    bot.telegram.message(group, migrate_to_chat_id=group - 5000)
    wait_for(lambda: bot.store.chats.get(group - 5000).model == "baseline")


@pytest.mark.parametrize("command", ["/nonsense", "/status", "/promote classic 0", "/audit"])
def test_unknown_command_is_explained(bot: RunningBot, chat: int, command: str) -> None:
    reply = ask(bot.telegram, chat, lambda: bot.telegram.text(chat, command))
    assert reply.text == T["unknown"]


@pytest.mark.parametrize(
    "content",
    [
        {"text": "what a day"},
        {"voice": {"file_id": "v", "file_unique_id": "v", "duration": 1}},
        {"document": {"file_id": "d", "file_unique_id": "d", "mime_type": "application/pdf"}},
        {"location": {"latitude": 1, "longitude": 1}},
    ],
)
def test_message_without_photo_is_explained(
    bot: RunningBot, chat: int, content: dict[str, Any]
) -> None:
    reply = ask(bot.telegram, chat, lambda: bot.telegram.message(chat, **content))
    assert reply.text == T["other"]


# /forget.


def test_forget_deletes_everything_about_the_user(
    bot: RunningBot, content: bytes, chat: int
) -> None:
    telegram = bot.telegram
    reply = ask(telegram, chat, lambda: telegram.photo(chat, content))
    press(telegram, chat, reply, T["right"])
    bot.store.chats.set(chat, Chat(model="baseline"))
    person = bot.state.person(chat) or ""
    assert bot.store.chats.user_stats(person) == (1, 1, 1)
    reply = ask(telegram, chat, lambda: telegram.text(chat, "/forget"))
    assert reply.text == T["forgotten"]
    assert bot.store.chats.user_stats(person) == (0, 0, 0)
    assert bot.store.chats.get(chat).model is None


def test_forget_keeps_the_settings_of_a_group(bot: RunningBot, chat: int, group: int) -> None:
    telegram = bot.telegram
    for each in (group, chat):
        bot.store.chats.set(each, Chat(model="baseline"))
    command = "/forget@tensight_bot"
    reply = ask(telegram, group, lambda: telegram.text(group, command, user=chat))
    assert reply.text == T["forgotten"]
    assert bot.store.chats.get(chat).model is None
    assert bot.store.chats.get(group).model == "baseline"


def test_forget_by_an_anonymous_administrator_affects_one_group(
    bot: RunningBot, content: bytes, group: int
) -> None:
    telegram, other = bot.telegram, group - 5000
    for each in (group, other):
        ask(telegram, each, partial(telegram.photo, each, content, **MENTION | anonymous(each)))
        bot.store.chats.set(each, Chat(model="baseline"))
    assert [bot.answers_of(each) for each in (group, other)] == [1, 1]
    ask(telegram, group, lambda: telegram.text(group, "/forget@tensight_bot", **anonymous(group)))
    assert [bot.answers_of(each) for each in (group, other)] == [0, 1]
    assert bot.store.chats.get(group).model == "baseline", "it belongs to all members"


def ask_about_photo_of_sender(telegram: TelegramServer, content: bytes) -> None:
    """Let a member of a group send /what in reply to the sender's photo."""
    message = photo_message(telegram, content, GROUP, SENDER)
    telegram.text(GROUP, "/what", reply_to_message=message, user=MEMBER)


def test_forget_covers_answers_requested_by_others(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=held) as bot:
        ask_about_photo_of_sender(telegram, content)
        wait_for(lambda: held.attempts == 1)
        reply = ask(telegram, SENDER, lambda: telegram.text(SENDER, "/forget"))
        assert reply.text == T["forgotten"]
        held.release()
        (reply,) = telegram.wait_for(1, GROUP)
        assert reply.text.startswith("A ship"), "the member gets an answer"
        bot.wait_until_idle()
        assert bot.answers_of(SENDER) == 0
        ask_about_photo_of_sender(telegram, content)
        telegram.wait_for(2, GROUP)
        assert bot.answers_of(SENDER) == 1, "later questions are not affected"
