"""The bot, end to end against a Bot API server on loopback: who sends photos."""

from __future__ import annotations

import io
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot import replies
from core import locale
from core.bundle.folder import find_bundles
from core.errors import BusyError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.chats import Chat
from tests.bot.running import Running, running
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.servers import wait_for
from tests.telegram_server import BOT, Call, TelegramServer

GROUP = -100


@pytest.fixture(scope="module")
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def bot(telegram: TelegramServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for most tests: each has a chat of its own."""
    with running(telegram, tmp_path_factory.mktemp("bot")) as bot:
        yield bot


@pytest.fixture
def own() -> Iterator[TelegramServer]:
    """One for a bot of the test's own: two bots would both get what is sent."""
    with TelegramServer().running() as server:
        yield server


@pytest.fixture
def content(photo: Path) -> bytes:
    return photo.read_bytes()


_CHATS = itertools.count(1)


@pytest.fixture
def chat() -> int:
    """A person who has not written before."""
    return next(_CHATS)


def words(language: locale.Language = "en") -> dict[str, str]:
    return locale.bot_texts(language)


def asked(telegram: TelegramServer, chat: int, what: Any, *methods: str) -> Call:
    """The one message that comes of something."""
    before = len(telegram.sent(chat, *methods))
    what()
    return telegram.wait_for(before + 1, chat, *methods)[-1]


def pressed(
    telegram: TelegramServer, chat: int, reply: Call, button: str, **how: Any
) -> tuple[Call, Call]:
    """What the message becomes when a button is pressed, and what the press is told."""
    answers = len(telegram.sent(None, "answerCallbackQuery"))
    before = len(telegram.sent(chat))
    data = reply.buttons()[button]
    telegram.press(chat, data, message=int(reply.data["message_id"]), **how)
    told = telegram.wait_for(answers + 1, None, "answerCallbackQuery")[-1]
    sent = telegram.sent(chat)
    return (sent[-1] if len(sent) > before else reply), told


# A photo, or an image sent as a file.


@pytest.mark.parametrize("kind", ["photo", "document"])
def test_a_photo_gets_a_reply(
    bot: Running, content: bytes, catalog: Catalog, chat: int, kind: str
) -> None:
    sent_at = time.monotonic()
    message = getattr(bot.telegram, kind)(chat, content)
    (reply,) = bot.telegram.wait_for(1, chat)
    assert reply.at - sent_at < 5, "a second, where nothing else is busy"
    expected = catalog.load("classic").predict(content)
    assert reply.reply_to == message
    verdict, _, *top, _, model = reply.text.splitlines()
    assert verdict == locale.format_verdict(expected)
    assert top == [
        f"{label} {locale.percent(score)}" for label, score in list(expected.scores.items())[:3]
    ]
    assert model == "Classic CNN"
    assert list(reply.buttons()) == ["Why?", "Compare", "Right", "Wrong", "Model"]
    assert all(len(data.encode()) <= 64 for data in reply.buttons().values())


def test_buttons_change_the_message(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    why, _ = pressed(telegram, chat, reply, "Why?")
    assert why.method == "editMessageMedia"
    (picture,) = why.files.values()
    assert Image.open(io.BytesIO(picture)).size == (640, 480)
    assert "Coloured is what spoke for “ship”" in why.text
    compared, _ = pressed(telegram, chat, reply, "Compare", photo=True)
    assert compared.method == "editMessageCaption"
    assert len(compared.text.splitlines()) == len(find_bundles(ROOT / "models"))
    assert list(compared.buttons()) == ["Why?", "Compare", "Model"], "of which would it be right?"
    assert "Baseline CNN: " in compared.text
    models, _ = pressed(telegram, chat, compared, "Model")
    back, _ = pressed(telegram, chat, models, "Back")
    assert list(back.buttons()) == list(compared.buttons())
    models, _ = pressed(telegram, chat, reply, "Model")
    names = list(models.buttons())
    shown = [name.removeprefix("✓ ").split(" · ")[0] for name in names]
    offered = ["Classic CNN", "VGG16, fine-tuned", "MobileNetV2", "Airbench CNN"]
    assert shown == [*offered, "VGG16, transferred", "Back"], "and not the baseline"
    assert names[0].startswith("✓ Classic CNN · 87.2% · ")
    assert names[3].startswith("Airbench CNN · 95.3% · ")
    other, _ = pressed(telegram, chat, models, names[3])
    assert other.text.endswith("Airbench CNN")
    marked = list(pressed(telegram, chat, other, "Model")[0].buttons())
    assert marked[0].startswith("Classic CNN · ")
    assert marked[3].startswith("✓ Airbench CNN · "), "who gave the answer is marked"
    assert list(other.buttons()) == ["Why?", "Compare", "Right", "Wrong", "Model"]
    back, _ = pressed(telegram, chat, models, "Back")
    assert list(back.buttons()) == ["Why?", "Compare", "Right", "Wrong", "Model"]


def test_people_say_whether_an_answer_is_right(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    after, told = pressed(telegram, chat, reply, "Right")
    assert told.text == "Thank you."
    assert list(after.buttons()) == ["Why?", "Compare", "Model"]
    assert pressed(telegram, chat, reply, "Right")[1].text == words()["said_before"]
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    classes, told = pressed(telegram, chat, reply, "Wrong")
    assert told.text == "What is in the photo?"
    assert list(classes.buttons())[:3] == ["airplane", "automobile", "bird"]
    assert "None of these" in classes.buttons()
    assert pressed(telegram, chat, classes, "truck")[1].text == "Thank you."
    person = bot.state.person(chat) or ""
    assert bot.store.chats.user_stats(person) == (2, 2, 1)
    stats = asked(telegram, chat, lambda: telegram.text(chat, "/stats"))
    assert "in the last 7 days: 2. Judged by you: 2, of which right: 1." in stats.text
    assert "Classic CNN (" in stats.text


def test_what_telegram_no_longer_has_is_said(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    telegram.faults.gone |= set(telegram.files)
    assert pressed(telegram, chat, reply, "Why?")[1].text == words()["gone"]
    telegram.faults.gone = set()
    forgotten = Call(
        "",
        reply.data | {"reply_markup": reply.data["reply_markup"].replace("why:", "why:x")},
        {},
        0,
    )
    assert pressed(telegram, chat, forgotten, "Why?")[1].text == words()["gone"]
    told = pressed(telegram, chat, reply, "Why?", accessible=False)[1]
    assert told.text == words()["too_old"]


def test_of_two_classes_people_say_which_is_right(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    with bot.store.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE answers SET verdict = 'unsure'")
    classes, told = pressed(telegram, chat, reply, "Right")
    assert told.text == "What is in the photo?"
    assert pressed(telegram, chat, classes, "truck")[1].text == "Thank you."


def test_a_judgement_counts_without_its_photo(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    bot.store.chats.set(chat, bot.store.chats.get(chat).__class__(keep_photos=True))
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    telegram.faults.gone |= set(telegram.files)
    assert pressed(telegram, chat, reply, "Right")[1].text == "Thank you."
    telegram.faults.gone = set()


def test_a_picture_that_came_meanwhile_is_captioned(
    bot: Running, content: bytes, chat: int
) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    telegram.faults.reasons["editMessageText"] = ["Bad Request: there is no text in the message"]
    compared, _ = pressed(telegram, chat, reply, "Compare")
    assert compared.method == "editMessageCaption"


def test_a_model_that_is_gone_is_said(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    offer = asked(telegram, chat, lambda: telegram.text(chat, "/model"))
    data = {
        "reply_markup": json.dumps(
            {"inline_keyboard": [[{"text": "x", "callback_data": "model::000000000000"}]]}
        )
    }
    gone = Call("", offer.data | data, {}, 0)
    assert pressed(telegram, chat, gone, "x")[1].text == words()["no_model"]


# Albums.


def album(telegram: TelegramServer, chat: int, photos: list[bytes], **more: Any) -> list[int]:
    group = f"album-{chat}"
    first, *others = photos
    messages = [telegram.photo(chat, first, media_group_id=group, **more)]
    return messages + [telegram.photo(chat, each, media_group_id=group) for each in others]


def test_an_album_gets_one_reply(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    buffer = io.BytesIO()
    drawings.gradient(300, 200).save(buffer, "PNG")
    first, *_ = album(telegram, chat, [content, b"no photo", buffer.getvalue()])
    telegram.text(chat, "/whoami")
    reply, after = telegram.wait_for(2, chat)
    assert reply.reply_to == first
    one, two, three, _, model = reply.text.splitlines()
    assert one.startswith("1. A ship (")
    assert two == "2. ⚠ This file is no photo. Send a JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC file."
    assert three.startswith("3. None of the ten things I know")
    assert model == "Classic CNN"
    assert after.text == f"Your id is {chat}.", "what comes after an album is answered after it"


def test_a_video_in_an_album_is_no_photo(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    video = {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}
    telegram.photo(chat, content, media_group_id=f"mixed-{chat}")
    telegram.message(chat, video=video, media_group_id=f"mixed-{chat}")
    (said,) = telegram.wait_for(1, chat)
    assert said.text.splitlines()[1] == f"2. {words()['no_photo']}"


def test_an_album_without_photos_gets_a_kind_sentence(bot: Running, chat: int) -> None:
    telegram = bot.telegram
    video = {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}
    for _ in range(2):
        telegram.message(chat, video=video, media_group_id=f"videos-{chat}")
    (said,) = telegram.wait_for(1, chat)
    assert said.text == words()["other"]


# Commands.


def test_start_and_help(bot: Running, chat: int) -> None:
    telegram = bot.telegram
    assert asked(telegram, chat, lambda: telegram.text(chat, "/start")).text == words()["start"]
    told = asked(telegram, chat, lambda: telegram.text(chat, "/help")).text
    assert "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck" in told


def test_a_model_of_other_labels_is_followed(
    own: TelegramServer, tmp_path: Path, content: bytes, made_models: Path
) -> None:
    labels = ["red square", "green bar", "blue sky"]
    with running(own, tmp_path, models=made_models, model="shapes"):
        told = asked(own, 5001, lambda: own.text(5001, "/help")).text
        assert ", ".join(labels) in told
        assert "airplane" not in told
        reply = asked(own, 5001, lambda: own.photo(5001, content))
        _, _, *top, _, title = reply.text.splitlines()
        assert {line.rpartition(" ")[0] for line in top} == set(labels)
        assert title == "Shapes"
        classes, _ = pressed(own, 5001, reply, "Wrong")
        assert set(labels) < set(classes.buttons()), "what it might be instead"


def test_the_model_is_kept_for_the_chat(
    own: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    for restart in range(2):
        with running(own, tmp_path):
            if not restart:
                offer = asked(own, 5001, lambda: own.text(5001, "/model"))
                name = next(n for n in offer.buttons() if n.startswith("Airbench CNN"))
                said, _ = pressed(own, 5001, offer, name)
                assert said.text == "From now on Airbench CNN answers here."
            reply = asked(own, 5001, lambda: own.photo(5001, content))
            assert reply.text.endswith("Airbench CNN")
            other = asked(own, 5002, lambda: own.photo(5002, content))
            assert other.text.endswith("Classic CNN")


@pytest.mark.parametrize(
    ("command", "text"), [("/compare", "Baseline CNN: "), ("/explain", "spoke for")]
)
def test_commands_about_a_photo(
    bot: Running, content: bytes, chat: int, command: str, text: str
) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.text(chat, command))
    assert reply.text == "Send this command in reply to a photo."
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    before = {"message_id": 3, "date": 1, "chat": {"id": chat, "type": "private"}, "photo": [size]}
    reply = asked(telegram, chat, lambda: telegram.text(chat, command, reply_to_message=before))
    assert text in reply.text


def test_the_language_is_chosen_or_that_of_telegram(bot: Running, chat: int) -> None:
    telegram = bot.telegram
    telegram.user(chat, "nl-BE")
    offer = asked(telegram, chat, lambda: telegram.text(chat, "/language"))
    assert offer.text == words("nl")["choose_language"]
    said, _ = pressed(telegram, chat, offer, "English")
    assert said.text == "From now on I speak English."
    assert asked(telegram, chat, lambda: telegram.text(chat, "/start")).text == words()["start"]


def test_a_dutch_answer(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    telegram.user(chat, "nl")
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    assert reply.text.startswith("Een schip (")
    assert list(reply.buttons()) == ["Waarom?", "Vergelijk", "Goed", "Fout", "Model"]


def test_photos_are_kept_with_consent_alone(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram

    def judge() -> None:
        reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
        pressed(telegram, chat, reply, "Right")

    kept = len(list(bot.store.feedback.photos()))
    judge()
    assert len(list(bot.store.feedback.photos())) == kept
    offer = asked(telegram, chat, lambda: telegram.text(chat, "/privacy"))
    assert "for 7 days" in offer.text
    assert offer.text.endswith(words()["not_kept"])
    agreed, _ = pressed(telegram, chat, offer, words()["keep_off"])
    assert agreed.text.endswith(words()["kept"])
    assert list(agreed.buttons()) == [words()["keep_on"]]
    judge()
    *_, (_, truth, photo) = bot.store.feedback.photos()
    assert truth == "ship"
    with Image.open(io.BytesIO(photo)) as image:
        assert not image.getexif()


def test_forget_deletes_all_of_a_person(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    reply = asked(telegram, chat, lambda: telegram.photo(chat, content))
    pressed(telegram, chat, reply, "Right")
    bot.store.chats.set(chat, bot.store.chats.get(chat).__class__(model="baseline"))
    person = bot.state.person(chat) or ""
    assert bot.store.chats.user_stats(person) == (1, 1, 1)
    said = asked(telegram, chat, lambda: telegram.text(chat, "/forget"))
    assert said.text == "All that was kept of you is deleted."
    assert bot.store.chats.user_stats(person) == (0, 0, 0)
    assert bot.store.chats.get(chat).model is None


def test_forget_leaves_a_group_what_it_chose(bot: Running, chat: int) -> None:
    telegram, group = bot.telegram, GROUP - chat
    bot.store.chats.set(group, Chat(model="baseline"))
    bot.store.chats.set(chat, Chat(model="baseline"))
    forget = "/forget@tensight_bot"
    said = asked(telegram, group, lambda: telegram.text(group, forget, user=chat))
    assert said.text == words()["forgotten"]
    assert bot.store.chats.get(chat).model is None
    assert bot.store.chats.get(group).model == "baseline"


def test_persons_are_hashes(bot: Running, content: bytes) -> None:
    telegram, chat = bot.telegram, 987654321
    asked(telegram, chat, lambda: telegram.photo(chat, content))
    connection = bot.store.database.engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    dump = "\n".join(connection.iterdump())
    rows = [line for line in dump.splitlines() if str(chat) in line]
    assert all('"inbox"' in row or '"chats"' in row for row in rows)
    assert (bot.settings.home / "secret").stat().st_mode & 0o077 == 0


def test_telegram_is_told_about_the_bot(own: TelegramServer, tmp_path: Path) -> None:
    languages = (None, "nl")
    for _ in range(2):
        with running(own, tmp_path):
            wait_for(lambda: len(own.sent(None, "getMyDescription")) >= len(languages))
            wait_for(lambda: ("Description", "nl") in own.texts)
        told = dict(own.texts)
        assert "airplane" in told["Description", None]
        assert "vliegtuig" in told["Description", "nl"]
        assert all(len(told["Description", each]) <= 512 for each in languages)
        assert {told["Name", each] for each in languages} == {"TenSight"}
        assert told["ShortDescription", "nl"].startswith("Zegt wat er op een foto staat")
        commands = json.loads(told["Commands", None])
        assert [each["command"] for each in commands][:3] == ["start", "help", "model"]
        for language in locale.LANGUAGES:
            texts = words(language)
            commands = json.loads(told["Commands", None if language == "en" else language])
            assert all(c["description"] == texts[f"command_{c['command']}"] for c in commands)
        assert "pull" not in told["Commands", None], "that is for operators"
        # Telegram takes few changes of a name in a day.
        assert len(own.sent(None, "setMyName")) == len(languages), "told once"


def test_many_labels(catalog: Catalog) -> None:
    labels = [f"label-{i}-{'x' * 40}" for i in range(1_000)]
    buttons = replies.class_buttons("k" * 16, labels, "en").inline_keyboard
    rows = [button for row in buttons for button in row]
    assert len(rows) == 32, "thirty labels, none of these, and back"
    assert all(len(str(button.callback_data).encode()) <= 64 for button in rows)
    for key in ("help", "description"):
        assert "and 980 others" in replies.greeting(key, labels, "en")


# Groups and other things.


def test_in_a_group_it_answers_whoever_means_it(bot: Running, content: bytes) -> None:
    telegram = bot.telegram
    group = GROUP - next(_CHATS)
    telegram.photo(group, content, user=1)
    telegram.text(group, "hello", user=1)
    telegram.text(group, "/nonsense", user=1)
    telegram.message(group, contact={"phone_number": "1", "first_name": "x"}, user=1)
    entities = [{"type": "mention", "offset": 5, "length": 13}]
    meant = telegram.photo(
        group, content, caption="what @tensight_bot", caption_entities=entities, user=1
    )
    to = {"message_id": 4, "date": 1, "chat": {"id": group, "type": "supergroup"}}
    also = telegram.photo(group, content, reply_to_message=to | {"from": BOT, "text": "x"}, user=1)
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    telegram.text(group, "/what", reply_to_message=to | {"photo": [size]}, user=1)
    replies = telegram.wait_for(3, group)
    assert [reply.reply_to for reply in replies] == [meant, also, 4]
    assert all(reply.text.startswith("A ship") for reply in replies)
    photos = album(
        telegram,
        group,
        [content, content],
        caption="@tensight_bot",
        user=1,
        caption_entities=[{"type": "mention", "offset": 0, "length": 13}],
    )
    assert telegram.wait_for(4, group)[-1].reply_to == photos[0]


def test_forwarded_photos_and_topics(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Somebody"}
    asked(telegram, chat, lambda: telegram.photo(chat, content, forward_origin=origin))
    group = GROUP - next(_CHATS)
    topic: dict[str, Any] = {"message_thread_id": 77, "is_topic_message": True, "user": 1}
    entities = [{"type": "mention", "offset": 0, "length": 13}]
    telegram.photo(group, content, caption="@tensight_bot", caption_entities=entities, **topic)
    (reply,) = telegram.wait_for(1, group)
    assert reply.data.get("message_thread_id") == "77"


def test_a_group_that_grew_keeps_what_it_chose(bot: Running, content: bytes) -> None:
    telegram, group = bot.telegram, GROUP - next(_CHATS)
    bot.store.chats.set(group, Chat(model="baseline"))
    telegram.message(group, migrate_to_chat_id=group - 5000)
    wait_for(lambda: bot.store.chats.get(group - 5000).model == "baseline")


@pytest.mark.parametrize(
    "content",
    [
        {"text": "what a day"},
        {"voice": {"file_id": "v", "file_unique_id": "v", "duration": 1}},
        {"document": {"file_id": "d", "file_unique_id": "d", "mime_type": "application/pdf"}},
        {"location": {"latitude": 1, "longitude": 1}},
    ],
)
def test_other_things_get_a_kind_sentence(bot: Running, chat: int, content: dict[str, Any]) -> None:
    telegram = bot.telegram
    said = asked(telegram, chat, lambda: telegram.message(chat, **content))
    assert said.text == "I look at photos only. Send me one."


def test_an_unknown_command(bot: Running, chat: int) -> None:
    telegram = bot.telegram
    for command in ("/nonsense", "/status", "/promote classic 0", "/audit"):
        said = asked(telegram, chat, lambda command=command: telegram.text(chat, command))
        assert said.text == "I do not know this command. /help tells which there are."


# Sentences.


def test_what_cannot_be_answered_is_said(bot: Running, content: bytes, chat: int) -> None:
    telegram = bot.telegram
    said = asked(telegram, chat, lambda: telegram.document(chat, b"text", "image/png"))
    assert said.text.startswith("This file is no photo.")
    said = asked(telegram, chat, lambda: telegram.document(chat, b"x", file_size=21 * 2**20))
    assert said.text == "The file is larger than 20 MB. Send a smaller photo."
    assert telegram.calls[-1].method != "getFile", "it is not fetched"
    file = {"file_id": telegram.add_file(content), "file_unique_id": "u"}
    unknown = {"mime_type": "application/octet-stream", "file_name": "ship.JPG"}
    said = asked(telegram, chat, lambda: telegram.message(chat, document=file | unknown))
    assert said.text.startswith("A ship"), "an image, by its name"


def test_too_many_in_a_minute(own: TelegramServer, tmp_path: Path, content: bytes) -> None:
    with running(own, tmp_path, chat_photos_per_minute=2):
        for _ in range(3):
            own.photo(6001, content)
        replies = own.wait_for(3, 6001)
        assert replies[-1].text.startswith("These are many photos. Wait ")
        group = GROUP - 6001
        entities = [{"type": "mention", "offset": 0, "length": 13}]
        mention: dict[str, Any] = {
            "caption": "@tensight_bot",
            "caption_entities": entities,
            "user": 1,
        }
        for _ in range(4):
            own.photo(group, content, **mention)
        own.wait_for(2, group)
        own.photo(6002, content)
        own.wait_for(1, 6002)
        assert len(own.sent(group)) == 2, "a group is not flooded"


def test_commands_do_not_flood_a_group(own: TelegramServer, tmp_path: Path) -> None:
    with running(own, tmp_path):
        for _ in range(15):
            own.text(GROUP, "/help@tensight_bot", user=1)
        own.text(2, "/whoami")
        own.wait_for(1, 2)
        wait_for(lambda: len(own.sent(GROUP)) >= 10)
        own.text(2, "/whoami")
        own.wait_for(2, 2)
    assert len(own.sent(GROUP)) == 10


def test_too_many_is_said_once(own: TelegramServer, tmp_path: Path, content: bytes) -> None:
    with running(own, tmp_path, chat_photos_per_minute=2):
        for _ in range(6):
            own.photo(6004, content)
        own.text(6004, "/whoami")
        texts = [call.text for call in own.wait_for(4, 6004)]
    assert [text.split()[0] for text in texts] == ["A", "A", "These", "Your"]


def test_too_many_is_said_also_where_telegram_was_away(
    own: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    with running(own, tmp_path, chat_photos_per_minute=1):
        asked(own, 6005, lambda: own.photo(6005, content))
        own.faults.failing["sendMessage"] = [502]
        own.photo(6005, content)
        said = own.wait_for(3, 6005)[1:]  # each try is recorded
    assert all(call.text.startswith("These are many photos.") for call in said)


def test_photos_count_by_when_they_were_sent(
    own: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running(own, tmp_path, chat_photos_per_minute=2):
        for minutes in (3, 3, 2, 2, 1):
            own.photo(6003, content, date=int(time.time()) - 60 * minutes)
        assert all(reply.text.startswith("A ship") for reply in own.wait_for(5, 6003))
        own.photo(6003, content, date=int(time.time()) - 60)
        own.photo(6003, content, date=int(time.time()) - 60)
        assert own.wait_for(7, 6003)[-1].text.startswith("These are many photos.")


class Busy(LocalPredictor):
    """A predictor that is full."""

    async def predict(self, *_: object, **__: object) -> Any:
        raise BusyError(4)


def test_busy(own: TelegramServer, tmp_path: Path, content: bytes) -> None:
    predictor = Busy(Catalog(Settings(models=ROOT / "models")), queue_size=1, deadline_s=1)
    with running(own, tmp_path, predictor=predictor):
        said = asked(own, 6101, lambda: own.photo(6101, content))
    predictor.close()
    assert said.text == "Many photos are waiting just now. Try again in 4 s."
