"""Updates in memory, and their lanes."""

from __future__ import annotations

import asyncio
from typing import Any

from telegram import Update

from bot import in_flight
from bot.in_flight import InFlightUpdates, lane_of
from bot.quarantine import Quarantine
from core.store.lanes import Lane

GROUP, SENDER, OTHER = -5, 1, 2


def message(number: int, text: str, user: int = SENDER, **more: Any) -> dict[str, Any]:
    """Build a message of a user in the group, as Telegram sends it."""
    sender = {"id": user, "is_bot": False, "first_name": "x"}
    chat = {"id": GROUP, "type": "group"}
    return {"message_id": number, "date": 1, "chat": chat, "from": sender, "text": text, **more}


def update(number: int, text: str = "x", user: int = SENDER, **more: Any) -> Update:
    """Build an update with a message."""
    content = {"update_id": number, "message": message(number, text, user, **more)}
    return Update.de_json(content, None)


def updates(*added: Update) -> InFlightUpdates:
    """Return updates in flight, which are received within an event loop."""

    async def add() -> InFlightUpdates:
        updates = InFlightUpdates(Quarantine(1.0))
        for each in added:
            updates.add(each)
        return updates

    return asyncio.run(add())


def test_updates_of_a_chat_share_a_lane_except_forget() -> None:
    assert lane_of(update(7)) == lane_of(update(8)) == Lane(GROUP)
    assert lane_of(update(9, "/forget")) == Lane(0, 9)


def test_lane_is_empty_after_its_last_update() -> None:
    in_memory = updates(update(7), update(8), update(9, "/forget"))
    assert in_memory.of_lane(Lane(GROUP)) == {7, 8}
    assert in_memory.finish([7, 9]) == {Lane(0, 9)}
    assert in_memory.remove([8]) == {Lane(GROUP)}
    assert (len(in_memory), set(in_memory.lanes)) == (0, set())


def test_finished_update_is_remembered_and_a_removed_one_is_not() -> None:
    in_memory = updates(update(7), update(8))
    in_memory.finish([7])
    in_memory.remove([8])
    assert [in_memory.knows(number) for number in (7, 8)] == [True, False]
    assert in_memory.age(update(7)) == 0


def test_oldest_finished_updates_are_not_remembered() -> None:
    in_memory = updates()
    in_memory.finish(range(in_flight._MAX_FINISHED + 1))
    assert [in_memory.knows(number) for number in (0, 1)] == [False, True]


def test_forgotten_user_has_no_data_stored() -> None:
    of_user, of_other = update(7), update(8, user=OTHER)
    about_user = update(9, user=OTHER, reply_to_message=message(1, "x"))
    in_memory = updates(of_user, of_other, about_user)
    in_memory.forget(SENDER)
    assert [in_memory.may_keep(number) for number in (7, 8, 9)] == [False, True, False]
    assert in_memory.are_dropped([7])
    assert not in_memory.are_dropped([7, 9]), "the reply of another user is answered"
