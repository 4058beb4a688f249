"""Lease of a process, and chats that another process takes over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.timings import Timings
from core.store.lanes import LaneTable
from core.store.store import Store
from core.store.tables import LANES
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    running_bot,
)
from tests.support.servers import wait_for
from tests.support.telegram_server import BOT_ID, TelegramServer


class CountingLanes(LaneTable):
    """A table that counts how often the lease is renewed."""

    renewals = 0

    def renew(self, *process: Any) -> None:
        self.renewals += 1
        super().renew(*process)


def test_lease_is_renewed_at_intervals_while_the_bot_stops(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    lanes: list[CountingLanes] = []

    def count(store: Store) -> Store:
        lanes.append(CountingLanes(store.database))
        return replace(store, lanes=lanes[0])

    telegram.photo(1, content)
    timings = Timings(stop_s=2.0, claim_s=1.0)
    with running_bot(telegram, tmp_path, predictor=held, timings=timings, parts=count):
        wait_for(lambda: held.attempts == 1)
        before = lanes[0].renewals
    assert lanes[0].renewals - before <= 4


def test_chat_taken_over_by_another_process_is_left_to_it(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=held, timings=Timings(claim_s=0.1)) as bot:
        sent = [telegram.photo(1, content) for _ in range(3)]
        wait_for(lambda: held.attempts == 1 and bot.unanswered() == 3)
        bot.store.lanes.renew(BOT_ID, "other", lease_s=600)
        with bot.store.database.write() as connection:
            connection.execute(sa.update(LANES).values(owner="other"))
        held.release()
        telegram.wait_for(1, 1)  # It was being handled.
        wait_for(lambda: bot.unanswered() == 2)
        bot.store.lanes.leave(BOT_ID, "other")
        telegram.wait_for(3, 1)
        bot.wait_until_idle()
    assert [call.reply_to for call in telegram.sent(1)] == sent
