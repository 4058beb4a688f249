"""Notices to the chats that use a taught model."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

from telegram import Bot
from telegram.error import Forbidden

from bot.state import BotState
from bot.taught_notices import chats_among, tell_chats
from core.store.chats import Chat
from tests.support.running_bot import texts


def test_chats_are_found_by_their_hashes() -> None:
    chats = {1: Chat(), 2: Chat(language="nl")}
    state: Any = SimpleNamespace(
        store=SimpleNamespace(chats=SimpleNamespace(all=lambda: chats)),
        taught=SimpleNamespace(is_among=lambda chat, users: f"hash of {chat}" in users),
    )
    found = asyncio.run(chats_among(cast("BotState", state), {"hash of 2", "hash of 3"}))
    assert found == {2: chats[2]}


def test_each_chat_is_told_in_its_language_and_failures_stop_nothing() -> None:
    bot: Any = AsyncMock()
    bot.send_message.side_effect = [Forbidden("the bot was removed"), None, None]
    chats = {1: Chat(), 2: Chat(language="nl"), 3: Chat(language="de")}
    asyncio.run(tell_chats(cast("Bot", bot), chats, "rollout_over", model="shapes"))
    assert [call.args for call in bot.send_message.await_args_list] == [
        (chat, texts(language)["rollout_over"].format(model="shapes"))
        for chat, language in ((1, "en"), (2, "nl"), (3, "de"))
    ]
