"""A digest for operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.digest import Digest, DiskUse, LiveModel
from core.bundle.metrics import ProportionEstimate
from core.store.activity import Activity
from core.store.rollouts import Rollout

__all__ = ["sample_digest"]

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
