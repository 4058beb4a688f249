"""Hourly counts of what the bot did, from which its digests are made."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.tables import ANSWERS, BOT_HOURS

__all__ = ["Activity", "ActivityTable", "purge_bot_hours"]

_KEPT_DAYS = 35
# Response times are counted in bins whose bounds grow by a tenth, so quantiles are accurate to 5%.
_GROWTH = math.log(1.1)
_MIN_S = 0.001


@dataclass
class Activity:
    """Counts of answered photos and of errors.

    Attributes:
        verdicts: Number of photos by verdict.
        seconds: Number of photos by bin of the response time.
        errors: Number of errors.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    errors: int = 0

    @property
    def photos(self) -> int:
        """Number of answered photos."""
        return self.verdicts.total()

    def __bool__(self) -> bool:
        """Return whether anything was counted."""
        return bool(self.verdicts or self.errors)

    def record_answer(self, seconds: float, verdict: str) -> None:
        """Count an answered photo, and the seconds from receiving it to the answer."""
        self.verdicts[verdict] += 1
        self.seconds[str(math.floor(math.log(max(seconds, _MIN_S)) / _GROWTH))] += 1

    def add(self, other: Activity) -> None:
        """Add the counts of another period."""
        self.verdicts.update(other.verdicts)
        self.seconds.update(other.seconds)
        self.errors += other.errors

    def quantile(self, share: float) -> float:
        """Return the response time that a share of the photos does not exceed, to within 5%.

        Args:
            share: The share, 0 to 1.

        Returns:
            Seconds; 0 without photos.
        """
        rank, n = max(1, math.ceil(share * self.seconds.total())), 0
        for bin_ in sorted(self.seconds, key=int):
            n += self.seconds[bin_]
            if n >= rank:
                return math.exp((int(bin_) + 0.5) * _GROWTH)
        return 0.0


class ActivityTable:
    """The table of hourly counts. No row refers to a person or a photo.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = secrets.token_hex(8)

    def add(self, new: Activity) -> None:
        """Add counts to the current hour, and delete those of more than 35 days ago."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        this_row = sa.and_(BOT_HOURS.c.hour == hour, BOT_HOURS.c.process == self._process)
        with self._database.write() as connection:
            purge_bot_hours(connection)
            row = connection.execute(sa.select(BOT_HOURS).where(this_row)).first()
            total = Activity() if row is None else _activity(row)
            total.add(new)
            values = {
                "verdicts": dict(total.verdicts),
                "seconds": dict(total.seconds),
                "errors": total.errors,
            }
            if row is None:
                key = {"hour": hour, "process": self._process}
                connection.execute(sa.insert(BOT_HOURS).values(key | values))
            else:
                connection.execute(sa.update(BOT_HOURS).where(this_row).values(values))

    def since(self, start: datetime) -> dict[datetime, Activity]:
        """Return the counts of all processes since a time, by the hour in UTC."""
        select = sa.select(BOT_HOURS).where(BOT_HOURS.c.hour >= start)
        found: dict[datetime, Activity] = {}
        with self._database.read() as connection:
            for row in connection.execute(select.order_by(BOT_HOURS.c.hour)):
                found.setdefault(in_utc(row.hour), Activity()).add(_activity(row))
        return found

    def people(self, start: datetime) -> int:
        """Count the people who got an answer to a single photo since a time."""
        people = sa.select(sa.func.count(ANSWERS.c.person.distinct()))
        with self._database.read() as connection:
            return int(connection.execute(people.where(ANSWERS.c.at >= start)).scalar_one())


def purge_bot_hours(connection: sa.Connection) -> None:
    """Delete the counts of more than 35 days ago."""
    before = datetime.now(UTC) - timedelta(_KEPT_DAYS)
    connection.execute(sa.delete(BOT_HOURS).where(BOT_HOURS.c.hour < before))


def _activity(row: sa.Row[tuple[object, ...]]) -> Activity:
    return Activity(Counter(row.verdicts), Counter(row.seconds), row.errors)
