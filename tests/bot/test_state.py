"""The context of an update."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from core.store.chats import Chat, ChatTable
from core.store.store import Store
from tests.support.running_bot import ask, photo_message, press, running_bot, texts
from tests.support.telegram_server import TelegramServer


class CountingChats(ChatTable):
    """A table that counts the reads of each chat's settings."""

    reads: Counter[int]

    def get(self, chat: int) -> Chat:
        self.reads[chat] += 1
        return super().get(chat)


def counting(store: Store) -> Store:
    """Give a store a table that counts."""
    chats = CountingChats(store.database)
    chats.reads = Counter()
    return replace(store, chats=chats)


@pytest.mark.parametrize("kind", ["photo", "album", "command", "refused", "/compare", "/explain"])
def test_context_loads_the_chat_settings_once_per_update(
    telegram: TelegramServer, tmp_path: Path, content: bytes, kind: str
) -> None:
    with running_bot(telegram, tmp_path, parts=counting) as bot:
        assert isinstance(bot.store.chats, CountingChats)
        if kind == "album":
            ask(telegram, 1, lambda: telegram.photo(1, content, media_group_id="a"))
        elif kind == "command":
            ask(telegram, 1, lambda: telegram.text(1, "/help"))
        elif kind == "refused":
            ask(telegram, 1, lambda: telegram.document(1, b"no photo"))
        elif kind.startswith("/"):
            message = photo_message(telegram, content, 1)
            ask(telegram, 1, lambda: telegram.text(1, kind, reply_to_message=message))
        else:
            ask(telegram, 1, lambda: telegram.photo(1, content))
        bot.wait_until_idle()
        assert bot.store.chats.reads[1] == 1


@pytest.mark.parametrize("button", ["why", "right", "compare"])
def test_context_loads_the_chat_settings_once_per_button(
    telegram: TelegramServer, tmp_path: Path, content: bytes, button: str
) -> None:
    with running_bot(telegram, tmp_path, parts=counting) as bot:
        assert isinstance(bot.store.chats, CountingChats)
        reply = ask(telegram, 1, lambda: telegram.photo(1, content))
        bot.wait_until_idle()
        bot.store.chats.reads.clear()
        press(telegram, 1, reply, texts()[button])
        bot.wait_until_idle()
        assert bot.store.chats.reads[1] == 1


def test_chat_of_a_removed_model_is_notified_once_and_uses_the_default(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path) as bot:
        bot.store.chats.set(1, Chat(model="mobilenet"))
        telegram.photo(1, content)
        telegram.wait_for(2, 1)
        telegram.photo(1, content)
        sent = [call.text for call in telegram.wait_for(3, 1)]
        gone = [text for text in sent if "mobilenet is no longer available" in text]
        assert len(gone) == 1
        assert len(sent) == 3
        assert bot.store.chats.get(1).model is None
