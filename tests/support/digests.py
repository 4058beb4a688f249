"""A digest for operators, and a bot that sends digests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.digest import Digest, DiskUse, LiveModel
from bot.timings import Timings
from core.bundle.metrics import ProportionEstimate
from core.charts.drawer import ChartDrawer
from core.store.activity import Activity
from core.store.feedback import Feedback
from core.store.rollouts import Rollout
from core.store.tables import FEEDBACK
from tests.support.rollouts import MODEL, settings_with_model
from tests.support.running_bot import RunningBot, running_bot
from tests.support.telegram_server import TelegramServer

__all__ = ["OPERATOR", "digest_bot", "sample_digest", "store_labels"]

OPERATOR = 501
NOW = datetime(2026, 5, 3, 10, 30, tzinfo=UTC)


def sample_digest(days: int = 1) -> Digest:
    """Return a digest of some days with every figure."""
    activity = Activity(errors=2)
    for seconds, verdict in ((0.5, "known"), (0.5, "unsure"), (2.0, "none"), (0.5, "known")):
        activity.record_answer(seconds, verdict)
    canary = Rollout(1, "classic", "canary", "2" * 12, "1" * 12, 0.1, 9.0, NOW)
    return Digest(
        days,
        NOW,
        activity,
        [(NOW - timedelta(hours=4), 3), (NOW, 1)],
        2,
        ProportionEstimate.of(8, 10),
        [],
        DiskUse(5 * 10**9, 20 * 10**9, 7 * 10**6),
        [LiveModel("classic", "1" * 12, NOW, 4, canary), LiveModel("scratch", "3", None, 0, None)],
        4,
        ProportionEstimate.of(15, 24),
        24,
    )


@contextmanager
def digest_bot(telegram: TelegramServer, folder: Path) -> Iterator[RunningBot]:
    """Run a bot that checks for due digests continuously and draws no pictures."""
    settings = settings_with_model(folder)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": (OPERATOR,), "timings": Timings(digest_check_s=0.05)}
    with running_bot(telegram, settings.home, **options) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


def store_labels(bot: RunningBot, n: int, *, days_ago: int = 0) -> None:
    """Store labels of photos, three quarters of which the live revision answered rightly."""
    revision = bot.state.predictor.model(MODEL).revision or ""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    for i in range(n):
        truth = "dog" if i % 4 == 0 else "cat"
        said = Feedback("label", MODEL, revision, "cat", "known", {"cat": 1.0}, truth)
        bot.store.feedback.add(said)
    with bot.store.database.write() as connection:
        connection.execute(sa.update(FEEDBACK).values(at=at))
