"""Claim lanes while there is room, renew the lease on them, and release those that are empty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from bot.in_flight import InFlightUpdates
from bot.lane_keeper import LaneKeeper
from bot.timings import Timings
from core.errors import StoreError
from core.store.inbox import StoredUpdate
from core.store.lanes import Lane

__all__ = ["OwnedLanes"]

# Chats that one process handles at a time, not counting those whose photos are deferred. Others
# are left to processes that have room.
_MAX_LANES = 100

logger = logging.getLogger(__name__)


class OwnedLanes:
    """The lanes that this process owns, kept by two tasks in the background.

    Args:
        keeper: Claims and releases lanes in the database.
        in_flight: Updates in memory, which tell how much room there is.
        timings: Interval between renewals and claims.
        admit: Takes the stored updates of lanes that were claimed.
        stopping: Set when the bot stops: no more lanes are claimed.
    """

    def __init__(
        self,
        keeper: LaneKeeper,
        in_flight: InFlightUpdates,
        timings: Timings,
        admit: Callable[[Sequence[StoredUpdate]], Awaitable[None]],
        stopping: asyncio.Event,
    ) -> None:
        self._keeper = keeper
        self._in_flight = in_flight
        self._timings = timings
        self._admit = admit
        self._stopping = stopping
        # Lanes without updates that are still owned.
        self._emptied: set[Lane] = set()
        # Whether there may be lanes that were left unclaimed for lack of room.
        self._left_lanes = False
        # A thread of its own, so that no prediction or slow query delays the renewal of the lease.
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        self._wants_lease = asyncio.Event()
        self._wants_lanes = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._has_ended = False

    @property
    def owner(self) -> str:
        """Name of this process in the database."""
        return self._keeper.owner

    @property
    def elsewhere(self) -> int:
        """Number of unfinished updates that other processes owned at the last claim."""
        return self._keeper.elsewhere

    async def start(self) -> None:
        """Start the lease and claim lanes periodically; may be called again after a failure.

        Raises:
            StoreError: The database cannot be used.
        """
        await self._renew()
        await self.claim()
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._repeat(self._renew, self._wants_lease)),
                asyncio.create_task(self._repeat(self._claim_and_release, self._wants_lanes)),
            ]

    async def stop(self) -> None:
        """Free all lanes for other processes; call it once all handlers have ended."""
        if self._tasks:
            self._has_ended = True
            self._wants_lease.set()
            self._wants_lanes.set()
            # Not cancelled, since a thread that still claims would do so after the process left.
            await asyncio.gather(*self._tasks, return_exceptions=True)
            try:
                await asyncio.to_thread(self._keeper.leave)
            except StoreError:
                logger.exception(
                    "Chats could not be released; others take over when the lease expires"
                )
        self._lease_thread.shutdown()

    def owner_of_new(self, *, urgent: bool) -> str | None:
        """Return the owner of the lanes of new updates; None to leave them to any process.

        Args:
            urgent: Whether an update among them must not wait for room.
        """
        owner = self._keeper.owner if urgent or self._room > 0 else None
        self._left_lanes |= owner is None
        return owner

    async def claim(self) -> None:
        """Claim lanes, and admit updates of owned lanes that are not in memory.

        Raises:
            StoreError: The database cannot be used.
        """
        room = 0 if self._stopping.is_set() else self._room
        known = frozenset(self._in_flight.ids)
        stored = await asyncio.to_thread(self._keeper.claim, known, room)
        self._left_lanes = self._keeper.claimed == room and not self._stopping.is_set()
        await self._admit(stored)

    def release_later(self, lanes: Collection[Lane]) -> None:
        """Release lanes after the next claim, unless they have updates by then."""
        self._emptied.update(lanes)

    async def release(self, lanes: Collection[Lane]) -> None:
        """Release lanes without updates; those that have got some meanwhile are kept.

        Raises:
            StoreError: The database cannot be used; they are released at a later call.
        """
        self._emptied.update(lanes)
        empty = self._emptied - self._in_flight.lanes
        self._emptied &= empty
        if empty:
            more = await asyncio.to_thread(self._keeper.release, empty)
            self._emptied -= empty
            await self._admit(more)
        if self._left_lanes and self._room >= _MAX_LANES // 4:
            self._wants_lanes.set()

    @property
    def _room(self) -> int:
        """Number of lanes that this process can handle in addition to those that it owns."""
        busy = max(0, len(self._in_flight.lanes) - len(self._in_flight.deferred))
        return max(0, _MAX_LANES - busy)

    async def _renew(self) -> None:
        """Renew the lease.

        Raises:
            StoreError: The database cannot be used.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._lease_thread, self._keeper.renew)

    async def _claim_and_release(self) -> None:
        """Claim lanes, and release those that could not be released before."""
        await self.claim()
        await self.release(())

    async def _repeat(self, action: Callable[[], Awaitable[None]], wake: asyncio.Event) -> None:
        """Run an action at intervals and when it is asked for, until all handlers have ended."""
        fails = False
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), self._timings.claim_s)
            if self._has_ended:
                return
            wake.clear()
            try:
                await action()
            except StoreError as error:
                if not fails:
                    logger.warning(
                        "Chats could not be claimed, or the lease on them not renewed: %s", error
                    )
                fails = True
            else:
                fails = False
