"""Confirmation of operators' commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.timings import Backoff, Timings
from core.errors import StoreError
from core.store.audit import AuditLog
from core.store.store import Store
from tests.support.operator_chat import OPERATOR, OTHER, confirm, last_text
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()


def test_maintenance_is_confirmed_by_the_operator_who_asked(operated: RunningBot) -> None:
    telegram, flags = operated.telegram, operated.store.flags
    question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance on"))
    assert question.text == T["confirm"].format(question=T["maintenance_on_asked"])
    assert not flags.get("maintenance")
    _, notice = press(telegram, OPERATOR, question, T["yes"], user=OTHER)
    assert notice.text == T["not_yours"]
    assert not flags.get("maintenance")
    press(telegram, OPERATOR, question, T["yes"])
    wait_for(lambda: last_text(telegram) == T["maintenance_on"])
    assert flags.get("maintenance")


def test_cancelled_command_changes_nothing(operated: RunningBot) -> None:
    telegram = operated.telegram
    question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance on"))
    press(telegram, OPERATOR, question, T["cancel"])
    wait_for(lambda: last_text(telegram) == T["cancelled"])
    assert not operated.store.flags.get("maintenance")
    telegram.press(OPERATOR, question.buttons()[T["yes"]], message=1)
    wait_for(lambda: last_text(telegram) == T["expired"])
    assert not operated.store.flags.get("maintenance")


def test_expired_command_changes_nothing(telegram: TelegramServer, tmp_path: Path) -> None:
    timings = Timings(confirm_s=0.0)
    with running_bot(telegram, tmp_path, operators=(OPERATOR,), timings=timings) as bot:
        confirm(telegram, "/maintenance on")
        wait_for(lambda: last_text(telegram) == T["expired"])
        assert not bot.store.flags.get("maintenance")


class LockedAudit(AuditLog):
    """A log that is locked when the first command starts."""

    failures = 1

    def begin(self, *entry: Any) -> int:
        if self.failures:
            self.failures -= 1
            raise StoreError("the database is locked")
        return super().begin(*entry)


def test_command_confirmed_while_the_database_is_locked_runs_later(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    def lock(store: Store) -> Store:
        return replace(store, audit=LockedAudit(store.database))

    timings = Timings(retry=Backoff(0.1, 0.1))
    with running_bot(telegram, tmp_path, operators=(OPERATOR,), parts=lock, timings=timings) as bot:
        confirm(telegram, "/maintenance on")
        wait_for(lambda: last_text(telegram) == T["maintenance_on"])
        assert bot.store.flags.get("maintenance")
