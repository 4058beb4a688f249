"""Notifications to operators."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from telegram import Bot

from bot.alarms import Alarms, operator_language
from bot.tasks import BackgroundTasks
from bot.timings import Backoff, Timings
from core.errors import StoreError
from core.locale import Language
from core.registry.failures import FailureListener
from core.settings import Settings
from core.store.chats import Chat
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import running_bot, texts, with_inbox
from tests.support.telegram_server import TelegramServer
from tests.support.virtual_time import run_in_virtual_time

OPERATOR, OTHER, USER = 501, 502, 503


@dataclass
class SentMessages:
    """A bot that records its messages."""

    messages: list[tuple[int, str]] = field(default_factory=list)

    async def send_message(self, chat: int, text: str) -> None:
        self.messages.append((chat, text))


async def english(_: int) -> Language:
    """Return the language of an operator."""
    return "en"


def test_alarm_of_a_kind_is_repeated_after_an_hour() -> None:
    bot = SentMessages()

    async def fail() -> list[int]:
        tasks = BackgroundTasks()
        alarms = Alarms(cast(Bot, bot), (OPERATOR, OTHER), english, tasks, Timings())
        sent = []
        for minutes in (0, 59, 2):
            await asyncio.sleep(60 * minutes)
            alarms.raise_alarm("kind", "alarm_text", text="x", reference="r")
            await asyncio.sleep(1)
            sent.append(len(bot.messages))
        return sent

    assert run_in_virtual_time(fail()) == [2, 2, 4]


class ReportingPredictor(ControlledPredictor):
    """A predictor whose models fail to load when the test says so."""

    report: FailureListener

    @contextmanager
    def reporting_model_failures(self, report: FailureListener) -> Iterator[None]:
        self.report = report
        yield


@pytest.fixture
def reporting() -> Iterator[ReportingPredictor]:
    with closing(ReportingPredictor()) as predictor:
        yield predictor


def test_alarms_of_other_kinds_are_sent_at_once(
    telegram: TelegramServer, tmp_path: Path, reporting: ReportingPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=reporting, operators=(OPERATOR,)):
        for name in ("classic", "scratch", "classic"):
            reporting.report(f"{name} cannot be loaded")
        alarms = telegram.wait_for(2, OPERATOR)
    assert {call.text.split(" cannot")[0] for call in alarms} == {"⚠ classic", "⚠ scratch"}


def test_unloadable_live_model_is_reported_in_the_operators_language(
    telegram: TelegramServer,
    tmp_path: Path,
    reporting: ReportingPredictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    operators = (OPERATOR, OTHER)
    with running_bot(telegram, tmp_path, predictor=reporting, operators=operators) as bot:
        bot.store.chats.set(OTHER, Chat(language="nl"))
        reporting.report("classic cannot be loaded")
        for operator, language in ((OPERATOR, "en"), (OTHER, "nl")):
            (alarm,) = telegram.wait_for(1, operator)
            template = texts("nl" if language == "nl" else "en")["alarm_text"]
            before, after = template.format(text="classic cannot be loaded", reference="|").split(
                "|"
            )
            assert alarm.text.startswith(before)
            reference = alarm.text.removeprefix(before).removesuffix(after)
            assert f"{reference}: operators are notified" in caplog.text


class BreakableInbox(InboxTable):
    """A table that cannot store updates while it is broken."""

    broken = False

    def receive(self, *updates: Any) -> set[int]:
        if self.broken:
            raise StoreError("the disk is full")
        return super().receive(*updates)


def test_long_database_outage_is_reported_once(telegram: TelegramServer, tmp_path: Path) -> None:
    timings = Timings(reconnect=Backoff(0.05, 0.05), database_alarm_s=0.2)
    with running_bot(
        telegram,
        tmp_path,
        parts=with_inbox(BreakableInbox),
        operators=(OPERATOR,),
        timings=timings,
    ) as bot:
        assert isinstance(bot.store.inbox, BreakableInbox)
        bot.store.inbox.broken = True
        telegram.text(USER, "/whoami")
        (alarm,) = telegram.wait_for(1, OPERATOR)
        assert alarm.text.startswith(texts()["alarm_database"].partition("{")[0])
        bot.store.inbox.broken = False
        telegram.wait_for(1, USER)
        bot.wait_until_idle()
        assert len(telegram.sent(OPERATOR)) == 1


def test_operator_without_a_selected_language_is_notified_in_english(tmp_path: Path) -> None:
    async def languages(store: Store) -> list[Language]:
        return [await operator_language(store.chats, each) for each in (OPERATOR, OTHER)]

    with closing(Store.open(Settings(home=tmp_path))) as store:
        store.chats.set(OTHER, Chat(language="nl"))
        assert asyncio.run(languages(store)) == ["en", "nl"]
