"""The rate limiter for requests to Telegram, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from telegram.error import RetryAfter

from bot.rate_limiter import TelegramRateLimiter
from tests.support.virtual_time import run_in_virtual_time

GROUP = -100


def send_at_once(
    limiter: TelegramRateLimiter, chats: Sequence[int], pause_of: dict[int, int] | None = None
) -> list[tuple[float, int]]:
    """Send a message to each chat at once; return when each was sent, and its chat.

    Args:
        limiter: The limiter.
        chats: The chats.
        pause_of: Seconds that Telegram demands a chat to pause for, once.
    """
    sent: list[tuple[float, int]] = []
    pauses = dict(pause_of or {})

    async def send(chat: int) -> None:
        if chat in pauses:
            raise RetryAfter(pauses.pop(chat))
        sent.append((asyncio.get_running_loop().time(), chat))

    async def send_all() -> None:
        await asyncio.gather(
            *(
                limiter.process_request(send, (chat,), {}, "sendMessage", {"chat_id": chat}, None)
                for chat in chats
            )
        )

    run_in_virtual_time(send_all())
    return sent


def test_messages_to_all_chats_are_limited_per_second() -> None:
    sent = send_at_once(TelegramRateLimiter(overall=10), range(1, 31))
    assert [at for at, _ in sent] == pytest.approx([0.0] * 10 + [1.0] * 10 + [2.0] * 10)


def test_messages_to_one_chat_are_a_second_apart_and_in_order() -> None:
    sent = send_at_once(TelegramRateLimiter(), [1, 2, 1, 1])
    assert [at for at, chat in sent if chat == 1] == pytest.approx([0.0, 1.0, 2.0])
    assert [at for at, chat in sent if chat == 2] == [0.0]


def test_messages_to_a_group_are_limited_to_twenty_a_minute() -> None:
    moments = [at for at, _ in send_at_once(TelegramRateLimiter(), [GROUP] * 50)]
    assert all(b - a >= 60 for a, b in zip(moments, moments[20:], strict=False))
    assert all(b - a >= 1 for a, b in itertools.pairwise(moments))
    assert moments[-1] < 150, "nor slower than needed"


def test_pause_demanded_by_telegram_affects_one_chat_only() -> None:
    sent = send_at_once(TelegramRateLimiter(), [1, 2], {1: 30})
    assert sent == [(0.0, 2), (pytest.approx(30.0), 1)]
