"""Updates that are malformed, or carry ids that cannot be stored."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from telegram import Update

from bot.updates import is_reply_to, is_sent_by, user_id_of
from tests.support.running_bot import (
    GROUP,
    ask,
    running_bot,
)
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer


@pytest.mark.parametrize("number", [400, pytest.param(2_000, marks=pytest.mark.long)])
def test_malformed_updates_do_not_stop_the_bot(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    rng = random.Random(7)  # noqa: S311  # not used for a secret
    junk: list[Any] = [None, 0, -1, 2**62, 2**64, "", "x" * 300, [], {}, True, 1.5, "/start"]
    junk.append({"id": "x"})

    def mutate(value: Any) -> Any:
        if rng.random() < 0.12:
            return rng.choice(junk)
        if isinstance(value, dict):
            return {k: mutate(v) for k, v in value.items() if rng.random() > 0.05}
        if isinstance(value, list):
            return [mutate(each) for each in value]
        return value

    kinds = valid_updates(telegram.add_file(content))
    with running_bot(telegram, tmp_path, operators=(3,)) as bot:
        for _ in range(number):
            telegram.update(**{k: mutate(v) for k, v in rng.choice(kinds).items()})
        reply = ask(telegram, 77, lambda: telegram.photo(77, content))
        assert reply.text.startswith("A ship")
        wait_for(lambda: bot.unanswered() == 0, seconds=200)
    assert "An update could not be handled" not in caplog.text, "failures are reported"


def valid_updates(file: str) -> list[dict[str, Any]]:
    """Return one update of each kind that the bot handles."""
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    user = {"id": 3, "is_bot": False, "first_name": "x", "language_code": "nl"}
    known = {"message_id": 5, "date": 1, "chat": {"id": 3, "type": "private"}, "from": user}
    group = known | {"chat": {"id": GROUP, "type": "supergroup"}}
    command = {"type": "bot_command", "offset": 0, "length": 6}
    mention = {"type": "mention", "offset": 0, "length": 13}
    caption = {"caption": "@tensight_bot", "caption_entities": [mention]}
    document = {"file_id": file, "file_unique_id": file, "mime_type": "image/png", "file_size": 9}
    what = {"text": "/what", "entities": [command | {"length": 5}]}
    updates: list[dict[str, Any]] = [
        {"message": known | {"photo": [size]}},
        {"message": known | {"photo": [size], "media_group_id": "a"}},
        {"message": group | {"photo": [size]} | caption},
        {"message": known | {"document": document | {"file_name": "a.png"}}},
        {"message": known | {"text": "/model x", "entities": [command]}},
        {"message": group | what | {"reply_to_message": known | {"photo": [size]}}},
        {"message": group | {"migrate_to_chat_id": GROUP - 1}},
        {"edited_message": known | {"text": "x"}},
        {"poll": {"id": "1"}},
    ]
    actions = ("why", "compare", "right", "wrong", "truth", "models", "model", "back", "language")
    for action in (*actions, "keep", "do", "drop"):
        query = {"id": "1", "from": user, "chat_instance": "1", "data": f"{action}:x:1"}
        updates.append({"callback_query": query | {"message": known}})
    return updates


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64])
def test_id_beyond_64_bits_is_ignored(
    telegram: TelegramServer, tmp_path: Path, number: int
) -> None:
    user = telegram.user(5)
    message = {"message_id": 1, "date": 1, "text": "x"}
    telegram.update(message=message | {"chat": {"id": number, "type": "private"}, "from": user})
    telegram.update(
        message=message | {"chat": {"id": 5, "type": "private"}, "from": {"id": number}}
    )
    with running_bot(telegram, tmp_path):
        ask(telegram, 7, lambda: telegram.text(7, "/whoami"))


def test_message_in_the_name_of_a_chat_is_sent_by_that_chat() -> None:
    group = {"id": GROUP, "type": "supergroup", "title": "A group"}
    shared = 1087968824
    user: dict[str, Any] = {"id": shared, "is_bot": True, "first_name": "Group"}
    message = {"message_id": 1, "date": 1, "chat": group, "from": user, "sender_chat": group}
    photo = Update.de_json({"update_id": 1, "message": message}, None)
    question = message | {"from": user | {"id": 3}, "reply_to_message": message}
    del question["sender_chat"]
    about = Update.de_json({"update_id": 2, "message": question}, None)
    assert user_id_of(photo) == GROUP
    assert is_sent_by(photo, GROUP)
    assert is_reply_to(about, GROUP)
    assert user_id_of(about) == 3
    assert not is_sent_by(photo, shared)
    assert not is_reply_to(about, shared)
