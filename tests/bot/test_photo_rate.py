"""The rate limit on the photos of a chat."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from telegram import Chat, Message, Update

from bot.photo_rate import PhotoRateLimiter
from core.errors import RateError

NOW = 1_700_000_000.0


def update(number: int, chat: int = 1, seconds_ago: float = 0) -> Update:
    """Return an update with a message of some time ago."""
    date = datetime.fromtimestamp(NOW - seconds_ago, UTC)
    kind = Chat.SUPERGROUP if chat < 0 else Chat.PRIVATE
    return Update(number, message=Message(number, date, Chat(chat, kind)))


@pytest.fixture
def limiter() -> PhotoRateLimiter:
    return PhotoRateLimiter(12, clock=lambda: NOW)


def test_chat_may_send_its_photos_and_is_told_when_to_retry(limiter: PhotoRateLimiter) -> None:
    limiter.check(update(1, seconds_ago=20), 12)
    with pytest.raises(RateError) as refused:
        limiter.check(update(2), 1)
    assert refused.value.retry_after == 40
    limiter.check(update(3, chat=2), 1)


def test_group_may_send_ten_photos(limiter: PhotoRateLimiter) -> None:
    limiter.check(update(1, chat=-1), 10)
    with pytest.raises(RateError):
        limiter.check(update(2, chat=-1), 1)


def test_update_that_is_handled_again_counts_once(limiter: PhotoRateLimiter) -> None:
    for _ in range(3):
        limiter.check(update(1), 12)


def test_album_larger_than_the_limit_counts_as_the_whole_limit() -> None:
    limiter = PhotoRateLimiter(5, clock=lambda: NOW)
    limiter.check(update(1), 10)
    with pytest.raises(RateError):
        limiter.check(update(2), 1)


def test_photos_count_by_the_date_of_their_message(limiter: PhotoRateLimiter) -> None:
    for minutes in (3, 2, 1):
        limiter.check(update(minutes, seconds_ago=60 * minutes), 12)
    with pytest.raises(RateError):
        limiter.check(update(4, seconds_ago=90), 1)


def test_chat_is_warned_once_a_minute() -> None:
    now = 0.0
    limiter = PhotoRateLimiter(1, monotonic=lambda: now)
    assert limiter.should_warn(1)
    limiter.mark_warned(1)
    now = 59.0
    assert not limiter.should_warn(1)
    assert limiter.should_warn(2)
    now = 60.0
    assert limiter.should_warn(1)
