"""Notices of rollouts that ended without a command, in this process or in another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.timings import Timings
from core import locale
from core.rollout.evidence import TestEvidence
from core.settings import Settings
from core.store.audit import AuditEntry
from core.store.chats import Chat
from core.store.notices import operator_notice
from core.store.rollouts import AUTOMATIC
from core.store.store import Store
from core.store.tables import AUDIT
from tests.support.rollouts import MODEL, settings_with_model
from tests.support.running_bot import RunningBot, running_bot
from tests.support.telegram_server import BOT_ID, TelegramServer

OPERATOR, OTHER = 501, 502
ACT = f"canary {MODEL} 0123456789ab"
WORSE = TestEvidence("errors", 1200, 1200, 1200, 0, 5e9, 200.0).reason()
WORDS = {
    "en": "worse than the live revision: 1,200 of 1,200 batches of photos failed, live 0 of 1,200; "
    "evidence > 2,000, limit 200",
    "nl": "slechter dan de live revisie: 1.200 van 1.200 batches met foto's mislukt, live 0 van "
    "1.200; bewijs > 2.000, grens 200",
    "de": "schlechter als die Live-Revision: 1.200 von 1.200 Foto-Batches fehlgeschlagen, live 0 "
    "von 1.200; Evidenz > 2.000, Grenze 200",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_model(tmp_path)


@contextmanager
def watching(
    telegram: TelegramServer, settings: Settings, *, check_s: float = 0.05
) -> Iterator[RunningBot]:
    """Run a bot that looks for ended rollouts at its start and, by default, continuously."""
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": (OPERATOR, OTHER), "timings": Timings(rollout_check_s=check_s)}
    with running_bot(telegram, settings.home, **options) as bot:
        yield bot


def end_rollout(store: Store) -> None:
    """End a canary as a process without a bot does."""
    canary = store.rollouts.begin(
        MODEL, "canary", candidate="0123456789ab", live="1" * 12, share=0.5, slow_ms=9.0
    )
    audit = AuditEntry.now(AUTOMATIC, ACT, str(WORSE), WORSE)
    assert store.rollouts.end(canary.number, "rolled_back", WORSE, audit=audit)


def claim(bot: RunningBot, number: int, operator: int) -> str:
    """Return the name of the claim on the notice of an audit entry to an operator."""
    return operator_notice(f"ended {number}", BOT_ID, bot.state.person(operator) or "")


def notice(language: locale.Language, reason: str | None = None) -> str:
    return locale.bot_texts(language)["canary_ended_itself"].format(
        model=MODEL, candidate="0123456789ab", reason=reason or WORDS[language]
    )


def test_end_by_another_process_is_told_to_all_operators_once(
    telegram: TelegramServer, settings: Settings
) -> None:
    with watching(telegram, settings) as bot:
        bot.store.chats.set(OTHER, Chat(language="nl"))
        end_rollout(bot.store)
        assert telegram.wait_for(1, OPERATOR)[0].text == notice("en")
        assert telegram.wait_for(1, OTHER)[0].text == notice("nl")
    with watching(telegram, settings) as bot:
        # A second end is told, the first one is not repeated.
        end_rollout(bot.store)
        telegram.wait_for(2, OPERATOR)
        (entry, _) = bot.store.audit.recent(2)
    assert [each.text for each in telegram.sent(OPERATOR)] == [notice("en")] * 2
    assert entry.outcome == (
        "worse than the live revision: errors: 1200 of 1200 runs of the candidate failed, 0 of "
        "1200 of the live revision; evidence 5e+09 of 200"
    ), "the audit log is in English, whatever the chats are in"


def test_end_by_an_earlier_version_is_told_in_its_words(
    telegram: TelegramServer, settings: Settings
) -> None:
    with watching(telegram, settings) as bot:
        bot.store.chats.set(OTHER, Chat(language="nl"))
        bot.store.audit.record(AUTOMATIC, ACT, "worse. Try `tensight models list`.")
        assert telegram.wait_for(1, OTHER)[0].text == notice("nl", "worse. Try /models")


def test_rollout_end_while_stopped_is_reported_after_the_start(
    telegram: TelegramServer, settings: Settings
) -> None:
    with closing(Store.open(settings)) as store:
        end_rollout(store)
    with watching(telegram, settings):
        assert telegram.wait_for(1, OPERATOR)[0].text == notice("en")


def test_failed_notice_is_retried_for_its_operator_only(
    telegram: TelegramServer, settings: Settings
) -> None:
    telegram.faults.closed[OPERATOR] = "bot was blocked"
    with watching(telegram, settings) as bot:
        end_rollout(bot.store)
        telegram.wait_for(1, OTHER)
        telegram.faults.closed.clear()
        # As if the time to send it had passed.
        bot.store.notices.release(claim(bot, 1, OPERATOR))
        assert telegram.wait_for(1, OPERATOR)[0].text == notice("en")
        # A second end is told after another look at the first one.
        end_rollout(bot.store)
        for operator in (OPERATOR, OTHER):
            assert len(telegram.wait_for(2, operator)) == 2


def test_failed_report_does_not_block_other_reports(
    telegram: TelegramServer, settings: Settings
) -> None:
    with closing(Store.open(settings)) as store:
        store.audit.record(AUTOMATIC, "an act of a newer version", "done")
        end_rollout(store)
    with watching(telegram, settings, check_s=3600):
        for operator in (OPERATOR, OTHER):
            assert telegram.wait_for(1, operator)[0].text == notice("en")


def test_old_rollout_end_is_not_reported(telegram: TelegramServer, settings: Settings) -> None:
    with closing(Store.open(settings)) as store:
        end_rollout(store)
        with store.database.write() as connection:
            connection.execute(sa.update(AUDIT).values(at=datetime.now(UTC) - timedelta(days=2)))
    with watching(telegram, settings) as bot:
        end_rollout(bot.store)
        telegram.wait_for(1, OPERATOR)
        assert bot.store.notices.is_due(claim(bot, 1, OPERATOR))
        assert not bot.store.notices.is_due(claim(bot, 2, OPERATOR))
