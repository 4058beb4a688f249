"""The operators' alarm about photos that differ from those of the month before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest

from bot.drift_chart import drift_chart
from bot.drift_text import drift_text
from bot.timings import Timings
from core.charts.chart import Chart
from core.charts.drawer import ChartDrawer
from core.rollout.drift_process import DriftProcess
from core.rollout.drift_samples import DriftSample
from core.settings import Settings
from core.store.chats import Chat
from core.store.database import in_utc
from core.store.notices import operator_notice
from core.store.store import Store
from core.store.tables import NOTICES
from tests.support.drift import DRIFTED, REVISION, USUAL, drift_report, store_answers
from tests.support.rollouts import MODEL, settings_with_model
from tests.support.running_bot import RunningBot, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import BOT_ID, TelegramServer

T = texts()
OPERATOR, OTHER = 501, 502


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_model(tmp_path)


@contextmanager
def watching(telegram: TelegramServer, settings: Settings) -> Iterator[RunningBot]:
    """Run a bot that checks for drift continuously and draws no pictures."""
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": (OPERATOR, OTHER), "timings": Timings(drift_check_s=0.1)}
    with running_bot(telegram, settings.home, **options) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


@pytest.fixture
def watched(telegram: TelegramServer, settings: Settings) -> Iterator[RunningBot]:
    with watching(telegram, settings) as bot:
        yield bot


def drift(bot: RunningBot) -> None:
    """Store a month, and a day that differs from it."""
    store_answers(bot.store, MODEL, REVISION, USUAL, hours_ago=48)
    store_answers(bot.store, MODEL, REVISION, DRIFTED, hours_ago=1)


def claim(bot: RunningBot, operator: int) -> str:
    """Return the name of the claim on the alarm to an operator."""
    return operator_notice("drift", BOT_ID, bot.state.person(operator) or "")


def is_told(bot: RunningBot, operator: int) -> bool:
    """Return whether an operator gets no other alarm before the next day."""
    is_own = NOTICES.c.name == claim(bot, operator)
    with bot.store.database.read() as connection:
        due_at = connection.execute(sa.select(NOTICES.c.due_at).where(is_own)).scalar_one()
    return in_utc(due_at) - datetime.now(UTC) > timedelta(hours=23)


def test_drift_alarm_is_sent_to_all_operators_once_a_day(watched: RunningBot) -> None:
    telegram, store = watched.telegram, watched.store
    store.chats.set(OTHER, Chat(language="nl"))
    drift(watched)
    assert telegram.wait_for(1, OPERATOR)[0].text == drift_text([drift_report()], "en")
    assert telegram.wait_for(1, OTHER)[0].text == drift_text([drift_report()], "nl")
    # Until it is delivered, another process may send it after five minutes.
    for operator in (OPERATOR, OTHER):
        wait_for(partial(is_told, watched, operator))
        # As if a day had passed.
        store.notices.release(claim(watched, operator))
        telegram.wait_for(2, operator)
    wait_for(partial(is_told, watched, OTHER))
    assert len(telegram.sent(OPERATOR)) == 2


def test_one_alarm_names_all_revisions_that_differ(
    telegram: TelegramServer, settings: Settings
) -> None:
    less = replace(USUAL, labels=Counter(cat=60, dog=60, ship=60, none=220))
    with closing(Store.open(settings)) as store:
        for model, day in ((MODEL, DRIFTED), ("another", less)):
            store_answers(store, model, REVISION, USUAL, hours_ago=48)
            store_answers(store, model, REVISION, day, hours_ago=1)
    with watching(telegram, settings):
        alarm = telegram.wait_for(1, OPERATOR)[0].text
    first, second = alarm.split("\n\n")[0].splitlines()[::4]
    assert first == T["drift_alarm"].format(model=MODEL, revision=REVISION)
    other = T["drift_other"].format(
        model="another", revision=REVISION, statistics=T["drift_labels"]
    )
    assert second == T["drift_others"].format(others=other)


def test_drift_alarm_has_a_picture(watched: RunningBot) -> None:
    watched.state.charts = ChartDrawer()
    drift(watched)
    picture = watched.telegram.wait_for(1, OPERATOR)[0]
    assert picture.method == "sendPhoto"
    assert next(iter(picture.files.values())).startswith(b"\x89PNG")
    assert picture.text == drift_text([drift_report()], "en")


@pytest.mark.parametrize("operators", [(), (OPERATOR,)])
def test_drift_is_exported_without_operators_and_after_the_alarm(
    telegram: TelegramServer, settings: Settings, operators: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": operators, "timings": Timings(drift_check_s=0.1)}
    with running_bot(telegram, settings.home, **options) as bot:
        bot.store.notices.claim(claim(bot, OPERATOR), 3600)
        drift(bot)

        def exported(name: str) -> float | None:
            labels = {"model": MODEL, "revision": REVISION, "statistic": "labels"}
            value = bot.state.metrics.registry.get_sample_value(name, labels)
            return None if value is None else float(value)

        wait_for(lambda: exported("tensight_drift_alarm") == 1)
        assert exported("tensight_drift_change") == pytest.approx(
            drift_report().month["labels"].change
        )


def test_drift_is_exported_until_the_next_comparison(watched: RunningBot) -> None:
    metrics = watched.state.metrics

    def exported() -> bool:
        return "tensight_drift_alarm{" in generate_latest(metrics.registry).decode()

    drift(watched)
    wait_for(exported)
    failed = threading.Event()

    class FailingProcess(DriftProcess):
        def compare(self, samples: Sequence[DriftSample]) -> None:
            failed.set()

    watched.state.drift = FailingProcess()
    # The second failure comes after the end of the check with the first one.
    for _ in range(2):
        wait_for(failed.is_set)
        failed.clear()
    assert exported()


def test_undelivered_drift_alarm_is_retried_for_its_operator_only(watched: RunningBot) -> None:
    telegram = watched.telegram
    telegram.faults.closed[OPERATOR] = "bot was blocked"
    drift(watched)
    telegram.wait_for(1, OTHER)
    telegram.faults.closed.clear()
    telegram.wait_for(1, OPERATOR)
    assert len(telegram.sent(OTHER)) == 1


def test_failed_alarm_does_not_block_other_operators(watched: RunningBot) -> None:
    dutch = drift_chart(drift_report(), "nl").series

    class FailingDrawer(ChartDrawer):
        def draw(self, chart: Chart) -> bytes | None:
            if chart.series == dutch:
                raise ValueError("this language cannot be drawn")
            return None

    watched.state.charts = FailingDrawer()
    watched.store.chats.set(OPERATOR, Chat(language="nl"))
    drift(watched)
    assert watched.telegram.wait_for(1, OTHER)[0].text == drift_text([drift_report()], "en")
    assert watched.telegram.sent(OPERATOR) == []
