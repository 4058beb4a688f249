"""Messages within Telegram's limits."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from telegram import Bot, Message
from telegram.error import Forbidden, TelegramError, TimedOut

from bot.sending import reply, reply_photo, send_message


def test_replies_are_cut_at_telegrams_limits() -> None:
    message: Any = AsyncMock()
    asyncio.run(reply(cast("Message", message), "x" * 5_000))
    asyncio.run(reply_photo(cast("Message", message), b"png", "x" * 5_000))
    assert message.reply_text.await_args.args == ("x" * 4_096,)
    assert message.reply_photo.await_args.kwargs["caption"] == "x" * 1_024


def test_nothing_is_sent_without_a_message() -> None:
    asyncio.run(reply(None, "text"))
    asyncio.run(reply_photo(None, b"png", "text"))


@pytest.mark.parametrize(
    ("error", "delivered"), [(None, True), (TimedOut(), True), (Forbidden("blocked"), False)]
)
def test_message_that_may_have_arrived_counts_as_delivered(
    error: TelegramError | None, delivered: bool
) -> None:
    bot: Any = AsyncMock()
    bot.send_message.side_effect = bot.send_photo.side_effect = error
    assert asyncio.run(send_message(cast("Bot", bot), 1, "x" * 5_000)) is delivered
    assert asyncio.run(send_message(cast("Bot", bot), 1, "x" * 5_000, b"png")) is delivered
    assert bot.send_message.await_args.args == (1, "x" * 4_096)
    assert bot.send_photo.await_args.kwargs == {"caption": "x" * 1_024}
