"""Updates that this process has received and not finished."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

from telegram import Update

from bot.quarantine import Quarantine
from bot.updates import is_reply_to, is_sent_by, ordering_chat_of
from core.store.lanes import Lane

__all__ = ["InFlightUpdates", "lane_of"]

# Ids of finished updates, since one may be delivered again while it is being marked.
_MAX_FINISHED = 10_000


@dataclass(frozen=True)
class _Received:
    """An update, and when it was received, by the clock of the event loop."""

    update: Update
    at: float


class InFlightUpdates:
    """Unfinished updates in the memory of this process, by id and by lane.

    Args:
        quarantine: Separates updates that may have killed a process.

    Attributes:
        quarantine: The same.
        deferred: Updates that cannot be answered now, in order, by lane.
        attempted: Ids of updates that are being attempted, or wait for the quarantine of others
            to end.
        begun: Ids of updates whose current attempt is counted in the database and has not ended.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        self.quarantine = quarantine
        self.deferred: dict[Lane, deque[Sequence[Update]]] = {}
        self.attempted: set[int] = set()
        self.begun: set[int] = set()
        self._received: dict[int, _Received] = {}
        self._lanes: dict[Lane, set[int]] = {}
        # In the order in which they finished, so that the oldest can be dropped.
        self._finished: dict[int, None] = {}
        self._dropped: set[int] = set()
        self._about_forgotten: set[int] = set()

    def __len__(self) -> int:
        """Return the number of unfinished updates."""
        return len(self._received)

    @property
    def ids(self) -> Set[int]:
        """Ids of the unfinished updates."""
        return self._received.keys()

    @property
    def lanes(self) -> Set[Lane]:
        """Lanes that have unfinished updates."""
        return self._lanes.keys()

    def of_lane(self, lane: Lane) -> Set[int]:
        """Return the ids of the unfinished updates of a lane."""
        return self._lanes.get(lane, set())

    def knows(self, number: int) -> bool:
        """Return whether an update is unfinished, or was finished lately."""
        return number in self._received or number in self._finished

    def age(self, update: Update) -> float:
        """Return the seconds since an update was received; 0 once it is finished."""
        received = self._received.get(update.update_id)
        return 0.0 if received is None else _now() - received.at

    def add(self, update: Update) -> Lane:
        """Add an update; return its lane."""
        lane = lane_of(update)
        self._received[update.update_id] = _Received(update, _now())
        self._lanes.setdefault(lane, set()).add(update.update_id)
        return lane

    def remove(self, numbers: Collection[int]) -> set[Lane]:
        """Remove updates; return the lanes that have no others."""
        emptied = set()
        for number in numbers:
            received = self._received.pop(number, None)
            self.begun.discard(number)
            self._dropped.discard(number)
            self._about_forgotten.discard(number)
            if received is not None:
                lane = lane_of(received.update)
                self._lanes[lane].discard(number)
                if not self._lanes[lane]:
                    del self._lanes[lane]
                    emptied.add(lane)
        self.quarantine.discard(numbers)
        return emptied

    def finish(self, numbers: Collection[int]) -> set[Lane]:
        """Remove updates as `remove` does, and remember for some time that they are finished."""
        self._finished.update(dict.fromkeys(numbers))
        while len(self._finished) > _MAX_FINISHED:
            del self._finished[next(iter(self._finished))]
        return self.remove(numbers)

    def forget(self, user: int) -> None:
        """Drop the updates of a user, and forbid storing data of updates about their photos."""
        for number, received in self._received.items():
            if is_sent_by(received.update, user):
                self._dropped.add(number)
            elif is_reply_to(received.update, user):
                self.mark_about_forgotten(number)

    def mark_about_forgotten(self, number: int) -> None:
        """Forbid storing data of an update whose photo's owner has asked to be forgotten."""
        self._about_forgotten.add(number)

    def are_dropped(self, numbers: Collection[int]) -> bool:
        """Return whether the senders of all these updates have been forgotten."""
        return self._dropped.issuperset(numbers)

    def may_keep(self, number: int) -> bool:
        """Return whether data of an update may be stored, as far as this process knows."""
        return number not in self._dropped and number not in self._about_forgotten


def lane_of(update: Update) -> Lane:
    """Return the lane in which an update is handled."""
    return Lane.of(update.update_id, ordering_chat_of(update))


def _now() -> float:
    return asyncio.get_running_loop().time()
