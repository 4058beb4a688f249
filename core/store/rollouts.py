"""Rollouts of candidate revisions: their start, their end and which ones are active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from core.bundle.folder import BUNDLED
from core.errors import ChangedError, StoreError
from core.store.audit import AuditEntry, record_entry
from core.store.database import Database, in_utc
from core.store.dialects import insert
from core.store.end_reasons import EndReason
from core.store.page_visitors import forget_visitors
from core.store.tables import LIVE, ROLLOUTS

__all__ = [
    "AUTOMATIC",
    "Outcome",
    "Rollout",
    "RolloutTable",
    "check_is_active",
    "end_for_promotion",
]

AUTOMATIC = "tensight"
"""Operator of audit entries about what TenSight did by itself."""

Outcome = Literal["promoted", "rolled_back", "stopped", "superseded"]
"""Outcome of a rollout; `superseded` by the promotion of another revision."""


@dataclass(frozen=True)
class Rollout:
    """A candidate revision that is tested beside the live one.

    Attributes:
        number: Number of the rollout.
        model: Name of the model.
        kind: `shadow` (it answers copies of photos) or `canary` (it answers some clients).
        candidate, live: The compared revisions, 12 hex digits or `bundled`.
        share: Share of the photos, or of the clients, more than 0 and at most 1.
        slow_ms: Duration in milliseconds beyond which an answer counts as slow.
        began_at: Time of its start, in UTC.
        ended_at: Time of its end, in UTC; None while it is active.
        outcome: How it ended; None while it is active.
        reason: Why it ended, as an English sentence.
        cause: The same as a code with values; None where an earlier version ended it.
    """

    number: int
    model: str
    kind: Literal["shadow", "canary"]
    candidate: str
    live: str
    share: float
    slow_ms: float
    began_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    cause: EndReason | None = None


class RolloutTable:
    """The table of rollouts.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        model: str,
        kind: Literal["shadow", "canary"],
        *,
        candidate: str,
        live: str,
        share: float,
        slow_ms: float,
        bundled: str | None = None,
        audit: AuditEntry | None = None,
    ) -> Rollout:
        """Start a rollout.

        Args:
            model: Name of the model.
            kind: As `Rollout.kind`.
            candidate: As `Rollout.candidate`.
            live: As `Rollout.live`.
            share: As `Rollout.share`.
            slow_ms: As `Rollout.slow_ms`.
            bundled: Revision of the bundled model, 12 hex digits; None where there is none.
            audit: Entry for the audit log; None where the operator's front records the command.

        Raises:
            StoreError: Another rollout of the model is active, or `live` is not its live revision.
        """
        values = {
            "model": model,
            "kind": kind,
            "candidate": candidate,
            "live": live,
            "share": share,
            "slow_ms": slow_ms,
            "began_at": datetime.now(UTC),
        }
        with self._database.write() as connection:
            if self._database.is_shared:
                # No promotion may change the live revision before the rollout is stored.
                connection.execute(sa.text("LOCK TABLE live IN SHARE MODE"))
            promoted = promoted_revision(connection, model, bundled)
            if promoted not in (None, live):
                raise StoreError(
                    f"The {kind} of {model} {candidate} was not started: {promoted} is live, not "
                    f"{live}. Another revision was promoted in the meantime, or {promoted} cannot "
                    "be loaded here. `tensight models list` shows which one is live."
                )
            # A unique index allows one active rollout of a model.
            new = insert(connection, ROLLOUTS).on_conflict_do_nothing()
            row = connection.execute(new.values(values).returning(ROLLOUTS)).first()
            if row is None:
                row = connection.execute(_active_of(model)).one()
                raise StoreError(
                    f"A {row.kind} of {model} {row.candidate} is active already. End it first: "
                    f"`tensight {row.kind} {model} --stop`."
                )
            if audit is not None:
                record_entry(connection, audit)
            return _rollout(row)

    def active(self) -> list[Rollout]:
        """List the active rollouts by model."""
        select = sa.select(ROLLOUTS).where(ROLLOUTS.c.ended_at.is_(None))
        with self._database.read() as connection:
            rows = connection.execute(select.order_by(ROLLOUTS.c.model)).all()
        return [_rollout(row) for row in rows]

    def latest(self, model: str) -> Rollout | None:
        """Return the latest rollout of a model, active or not; None without any."""
        select = sa.select(ROLLOUTS).where(ROLLOUTS.c.model == model)
        with self._database.read() as connection:
            row = connection.execute(select.order_by(ROLLOUTS.c.id.desc()).limit(1)).first()
        return None if row is None else _rollout(row)

    def get(self, number: int) -> Rollout | None:
        """Return a rollout by its number, active or not; None if there is none."""
        select = sa.select(ROLLOUTS).where(ROLLOUTS.c.id == number)
        with self._database.read() as connection:
            row = connection.execute(select).first()
        return None if row is None else _rollout(row)

    def end(
        self, number: int, outcome: Outcome, reason: EndReason, *, audit: AuditEntry | None = None
    ) -> bool:
        """End an active rollout, once.

        Args:
            number: Number of the rollout.
            outcome: How it ends.
            reason: Why.
            audit: As for `begin`.

        Returns:
            Whether it was active.
        """
        with self._database.write() as connection:
            ended = _end(connection, ROLLOUTS.c.id == number, outcome, reason)
            if ended and audit is not None:
                record_entry(connection, audit)
        return bool(ended)

    def end_shown(
        self, number: int, outcome: Outcome, reason: EndReason, *, audit: AuditEntry | None = None
    ) -> Rollout:
        """End the rollout that an operator was shown; arguments as those of `end`.

        Returns:
            The rollout as it was.

        Raises:
            ChangedError: It has ended in the meantime.
        """
        of_number = ROLLOUTS.c.id == number
        with self._database.write() as connection:
            check_is_active(connection, number)
            shown = connection.execute(sa.select(ROLLOUTS).where(of_number)).one()
            _end(connection, of_number, outcome, reason)
            if audit is not None:
                record_entry(connection, audit)
        return _rollout(shown)


def promoted_revision(connection: sa.Connection, model: str, bundled: str | None) -> str | None:
    """Return the revision of a model that was made live, 12 hex digits.

    Args:
        connection: The transaction.
        model: Name of the model.
        bundled: Revision of the bundled model, which is live where none was promoted; None where
            there is none.
    """
    promoted = connection.execute(sa.select(LIVE.c.revision).where(LIVE.c.model == model)).scalar()
    return bundled if promoted in (None, BUNDLED) else str(promoted)


def check_is_active(connection: sa.Connection, number: int) -> None:
    """Check that a rollout is active, in the transaction of what depends on it.

    Args:
        connection: The transaction.
        number: Number of the rollout.

    Raises:
        ChangedError: It has ended, or there is none of that number.
    """
    select = sa.select(ROLLOUTS).where(ROLLOUTS.c.id == number)
    row = connection.execute(select.with_for_update()).first()
    if row is None or row.ended_at is not None:
        raise _ended_meanwhile(connection, row)


def _ended_meanwhile(connection: sa.Connection, row: sa.Row[Any] | None) -> ChangedError:
    """Build the error that a rollout has ended, which names the one that is active instead."""
    if row is None:
        return ChangedError("This shadow or canary is unknown. Nothing was changed.")
    text = f"The {row.kind} of {row.model} {row.candidate} has ended in the meantime"
    if (other := connection.execute(_active_of(row.model)).first()) is not None:
        text += f", and a {other.kind} of {other.candidate} is active now"
    return ChangedError(
        f"{text}. Nothing was changed. `tensight evidence {row.model}` shows the latest one."
    )


def end_for_promotion(connection: sa.Connection, model: str, names: Sequence[str]) -> None:
    """End the active rollout of a model in the transaction that changes its live revision.

    Where another revision than the candidate is made live, this is stated in the audit log, as the
    operator may not know of the rollout.

    Args:
        connection: The transaction.
        model: Name of the model.
        names: Names of the revision that is made live, the usual one first.
    """
    of_model, reason = ROLLOUTS.c.model == model, EndReason("made_live", {"revision": names[0]})
    if _end(connection, of_model & ROLLOUTS.c.candidate.in_(names), "promoted", reason):
        return
    for row in _end(connection, of_model, "superseded", reason):
        act = f"{row.kind} {model} {row.candidate}"
        record_entry(connection, AuditEntry.now(AUTOMATIC, act, f"superseded: {reason}", reason))


def _end(
    connection: sa.Connection, which: sa.ColumnElement[bool], outcome: Outcome, reason: EndReason
) -> Sequence[sa.Row[Any]]:
    """End active rollouts, forget the hashes of visitors kept for them, and return their rows."""
    active = sa.update(ROLLOUTS).where(which, ROLLOUTS.c.ended_at.is_(None))
    values: dict[str, object] = {"ended_at": datetime.now(UTC), "outcome": outcome}
    values |= {"reason": str(reason), "cause": asdict(reason)}
    ended = connection.execute(active.values(values).returning(ROLLOUTS)).all()
    if ended:
        forget_visitors(connection)
    return ended


def _active_of(model: str) -> sa.Select[Any]:
    return sa.select(ROLLOUTS).where(ROLLOUTS.c.model == model, ROLLOUTS.c.ended_at.is_(None))


def _rollout(row: sa.Row[Any]) -> Rollout:
    ended_at = None if row.ended_at is None else in_utc(row.ended_at)
    return Rollout(
        row.id,
        row.model,
        row.kind,
        row.candidate,
        row.live,
        row.share,
        row.slow_ms,
        in_utc(row.began_at),
        ended_at,
        row.outcome,
        row.reason,
        None if row.cause is None else EndReason(**row.cause),
    )
