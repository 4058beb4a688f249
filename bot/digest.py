"""Content of a digest: activity of the last day or week, and the live models."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bot.drift_alarm import find_drift
from bot.state import BotState
from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import ProportionEstimate
from core.errors import TenSightError
from core.registry.taught import is_private
from core.rollout.drift_result import DriftReport
from core.store.activity import Activity
from core.store.feedback import FeedbackStats
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["Digest", "DiskUse", "LiveModel", "collect_digest", "store_activity"]

# Bars of a digest of one day; others have a bar for each day.
_HOURS_PER_BAR = {1: 4}
_LABELS = 20
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DiskUse:
    """Use of the disk with the data folder, in bytes.

    Attributes:
        free, total: Free space and size of the disk.
        home: Size of the data folder.
    """

    free: int
    total: int
    home: int


@dataclass(frozen=True)
class LiveModel:
    """A live model.

    Attributes:
        name, revision: The live revision.
        since: Since when it is live, in UTC; None if it came with TenSight.
        photos: Photos that it answered, in all fronts that share the database.
        rollout: The active shadow or canary beside it.
    """

    name: str
    revision: str
    since: datetime | None
    photos: int
    rollout: Rollout | None


@dataclass(frozen=True)
class Digest:
    """A digest.

    Attributes:
        days: Number of days that it covers. They begin at a full hour, since counts are stored by
            the hour, so two consecutive digests may both include the same hour.
        end: Their end, in UTC.
        activity: What the bot did.
        parts: Start in UTC and number of photos of intervals of equal length. The last one also
            includes the current hour so far.
        people: People who got an answer to a single photo.
        judged: Share of judged answers that were right, in all fronts; None without feedback.
        drift: Drift of the last 24 hours; None where it cannot be computed.
        disk: Use of the disk.
        live: The live models, those that answered most photos first; None if they are unknown.
        new_labels: Number of photos that operators labelled since a regular digest last stated the
            accuracy on labels; for an operator without regular digests, in these days. 0 if fewer
            than 20.
        labels: Share of the labelled photos that the live revisions had answered rightly; None
            where they answered none, as after a promotion, or without new labels.
        reported_labels: Number of all labels when that accuracy was last stated, in this digest or
            an earlier one.
    """

    days: int
    end: datetime
    activity: Activity
    parts: list[tuple[datetime, int]]
    people: int
    judged: ProportionEstimate | None
    drift: list[DriftReport] | None
    disk: DiskUse
    live: list[LiveModel] | None
    new_labels: int
    labels: ProportionEstimate | None
    reported_labels: int


async def collect_digest(state: BotState, operator: str, days: int, end: datetime) -> Digest:
    """Collect a digest of the last days.

    Args:
        state: The bot's state.
        operator: Keyed hash of the id of the operator who gets it.
        days: Number of days.
        end: The current time, in UTC.

    Raises:
        StoreError: The database is not available.
    """
    await store_activity(state)
    drift = await find_drift(state)
    try:
        models = await state.models.all()
    except TenSightError:
        models = None
    return await asyncio.to_thread(
        _collect, state.store, state.settings.home, models, drift, operator, days, end
    )


async def store_activity(state: BotState) -> None:
    """Store the counts of this process, for the digests of all processes.

    Raises:
        StoreError: The database is not available; the counts are kept.
    """
    pending = state.hour.take_pending()
    if pending:
        try:
            await asyncio.to_thread(state.store.activity.add, pending)
        except BaseException:
            state.hour.put_back(pending)
            raise


def _collect(
    store: Store,
    home: Path,
    models: Sequence[ModelInfo] | None,
    drift: list[DriftReport] | None,
    operator: str,
    days: int,
    end: datetime,
) -> Digest:
    start = end.replace(minute=0, second=0, microsecond=0) - days * _A_DAY
    hours, total = store.activity.since(start), Activity()
    for each in hours.values():
        total.add(each)
    length = timedelta(hours=_HOURS_PER_BAR.get(days, 24))
    reported_labels, new_labels = _labels(store, operator, start)
    if models is None or new_labels < _LABELS:
        new_labels = 0
    photos = Counter[int]()
    n_parts = days * _A_DAY // length
    for hour, each in hours.items():
        photos[min((hour - start) // length, n_parts - 1)] += each.photos
    return Digest(
        days,
        end,
        total,
        [(start + i * length, photos[i]) for i in range(n_parts)],
        store.activity.people(start),
        _estimate(store.feedback.stats(since=start)),
        drift,
        _disk_use(home),
        None if models is None else _live(store, models, start, end),
        new_labels,
        _label_estimate(store, models) if new_labels and models is not None else None,
        reported_labels + new_labels,
    )


def _estimate(rows: Sequence[FeedbackStats]) -> ProportionEstimate | None:
    # Private taught models are left out of the operators' statistics.
    rows = [row for row in rows if not is_private(row.model)]
    n = sum(row.n for row in rows)
    return ProportionEstimate.of(sum(row.right for row in rows), n) if n else None


def _labels(store: Store, operator: str, start: datetime) -> tuple[int, int]:
    """Count the labels already reported to an operator, and the new ones."""
    n = sum(row.n for row in store.feedback.stats(labels=True))
    reported = store.digests.reported_labels(operator)
    if reported is None:
        reported = n - sum(row.n for row in store.feedback.stats(since=start, labels=True))
    reported = min(reported, n)  # Labels are deleted with other data of the photo's sender.
    return reported, n - reported


def _label_estimate(store: Store, models: Sequence[ModelInfo]) -> ProportionEstimate | None:
    """Estimate the accuracy of the live revisions on all labelled photos that they answered."""
    live = {_key(model) for model in models}
    rows = store.feedback.stats(labels=True)
    return _estimate([row for row in rows if (row.model, row.revision) in live])


def _live(
    store: Store, models: Sequence[ModelInfo], start: datetime, end: datetime
) -> list[LiveModel]:
    since = store.live.changed_at()
    rollouts = {each.model: each for each in store.rollouts.active()}
    answers = store.drift.between(start, end)
    found = [
        LiveModel(
            model.config.name,
            model.revision or "",
            since.get(model.config.name),
            answers[key].labels.total() if (key := _key(model)) in answers else 0,
            rollouts.get(model.config.name),
        )
        for model in models
    ]
    return sorted(found, key=lambda each: (-each.photos, each.name))


def _key(model: ModelInfo) -> tuple[str, str]:
    return model.config.name, model.revision or ""


def _disk_use(home: Path) -> DiskUse:
    # With an external database, the data folder may not have been created.
    there = next((each for each in (home, *home.absolute().parents) if each.is_dir()), Path("/"))
    usage = shutil.disk_usage(there)
    size = 0
    for folder, _, files in os.walk(home):
        for name in files:
            try:
                size += (Path(folder) / name).lstat().st_size
            except OSError:
                continue  # deleted in the meantime
    return DiskUse(usage.free, usage.total, size)
