"""Keep the lease of this process, and claim updates that no living process handles."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Collection, Set

from telegram import Bot

from bot.timings import Timings
from core.errors import StoreError
from core.store.inbox import InboxTable, StoredUpdate
from core.store.lanes import Lane, LaneTable

__all__ = ["LaneKeeper"]

# Leases that must have passed after an outage before other processes count as dead.
_GRACE_LEASES = 2


class LaneKeeper:
    """The lanes that this process owns: a lane is handled by one process at a time.

    All methods block, and raise StoreError where the database cannot be used.

    Args:
        table: Table of the updates.
        lanes: Table of the lanes.
        bot: The bot; its id is known once it is connected.
        timings: Length of the lease.
        alone: Whether no other process of the bot can run: what an earlier one owned is free.
        clock: Monotonic clock in seconds.

    Attributes:
        owner: Name of this process in the database.
        elsewhere: Number of unfinished updates that this process did not own at the last claim.
        claimed: Number of lanes that it claimed then.
    """

    def __init__(
        self,
        table: InboxTable,
        lanes: LaneTable,
        bot: Bot,
        timings: Timings,
        *,
        alone: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._lanes = lanes
        self._bot = bot
        self._timings = timings
        self._frees_all = alone
        self._clock = clock
        self._reachable_since = -math.inf
        self.owner = secrets.token_hex(16)
        self.elsewhere = 0
        self.claimed = 0

    def renew(self) -> None:
        """Begin the lease, or renew it."""
        try:
            if self._frees_all:
                self._lanes.free_all(self._bot.id)
                self._frees_all = False
            self._lanes.renew(self._bot.id, self.owner, self._timings.lease_s)
        except StoreError:
            self._reachable_since = math.inf
            raise

    def claim(self, known: Set[int], room: int) -> list[StoredUpdate]:
        """Claim lanes; return the updates of owned lanes that are not known.

        Args:
            known: Ids of the updates that this process has in memory.
            room: Maximum number of lanes to claim.
        """
        take_over = self._may_take_over()
        claimed = (
            self._lanes.claim(self._bot.id, self.owner, room, take_over=take_over) if room else []
        )
        self.claimed = len(claimed)
        if claimed:
            self._lanes.release(self._bot.id, self.owner, claimed)  # those without updates
        owned = self._table.owned(self._bot.id, self.owner)
        self.elsewhere = max(0, self._table.count(self._bot.id) - len(owned))
        return self._table.load(self._bot.id, owned - known) if owned - known else []

    def _may_take_over(self) -> bool:
        """Return whether other processes had the time to renew their leases.

        While the database was unavailable nobody could renew one, so that after an outage living
        processes look dead. Their attempts to connect may take some seconds to end.
        """
        now = self._clock()
        self._reachable_since = min(self._reachable_since, now)
        return now - self._reachable_since >= _GRACE_LEASES * self._timings.lease_s

    def release(self, lanes: Collection[Lane]) -> list[StoredUpdate]:
        """Give up lanes; return the updates of those that have some, and stay owned."""
        left = self._lanes.release(self._bot.id, self.owner, lanes)
        return self._table.load(self._bot.id, left) if left else []

    def leave(self) -> None:
        """Free all lanes of this process when it ends."""
        self._lanes.leave(self._bot.id, self.owner)
