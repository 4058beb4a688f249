"""Rate limit on the photos of a chat."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from telegram import Update
from telegram.constants import ChatType

from bot.updates import chat_id_of
from core.rate_limit import RateLimit

__all__ = ["PhotoRateLimiter"]

_WINDOW_S = 60.0
# All members of a group read every answer, so fewer are given there.
_MAX_GROUP_PHOTOS = 10
_MAX_REMEMBERED = 10_000


class PhotoRateLimiter:
    """Sliding-window limit on the photos of each chat.

    Photos count by the date of their message: those that waited while the bot was down were not
    sent faster. An update counts once, however often it is handled.

    Args:
        photos_per_minute: Photos that one chat may send in a minute; a group at most ten.
        clock: Seconds since the epoch, as in the date of messages.
        monotonic: Monotonic clock in seconds, for the interval between warnings.
    """

    def __init__(
        self,
        photos_per_minute: int,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._in_private = photos_per_minute
        self._in_group = min(photos_per_minute, _MAX_GROUP_PHOTOS)
        self._private = RateLimit(self._in_private, window_s=_WINDOW_S, clock=clock)
        self._group = RateLimit(self._in_group, window_s=_WINDOW_S, clock=clock)
        self._counted: dict[int, None] = {}
        self._warned: dict[int, float] = {}

    def photos_per_minute(self, *, in_group: bool) -> int:
        """Return how many photos a chat may send in a minute."""
        return self._in_group if in_group else self._in_private

    def check(self, update: Update, photos: int) -> None:
        """Count the photos of an update, unless it was counted before.

        Args:
            update: The update.
            photos: Number of photos that it asks about.

        Raises:
            RateError: The chat has sent too many; `retry_after` says when to retry.
        """
        if update.update_id in self._counted:
            return
        chat = update.effective_chat
        is_private = chat is None or chat.type == ChatType.PRIVATE
        limit = self._private if is_private else self._group
        message = update.message
        sent_at = message.date.timestamp() if message is not None else self._clock()
        limit.hit(str(chat_id_of(update)), photos, at=sent_at)
        self._counted[update.update_id] = None
        _forget_oldest(self._counted)

    def should_warn(self, chat: int) -> bool:
        """Return whether a chat is to be warned: at most once a minute."""
        return self._warned.get(chat, -math.inf) <= self._monotonic() - _WINDOW_S

    def mark_warned(self, chat: int) -> None:
        """Record that a chat was warned."""
        self._warned.pop(chat, None)
        self._warned[chat] = self._monotonic()
        _forget_oldest(self._warned)


def _forget_oldest(remembered: dict[int, None] | dict[int, float]) -> None:
    while len(remembered) > _MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
