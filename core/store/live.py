"""Live and last good revisions of the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from core.bundle.folder import BUNDLED
from core.errors import ChangedError, StoreError
from core.store.audit import AuditEntry, record_entry
from core.store.database import Database, in_utc
from core.store.dialects import upsert
from core.store.rollouts import check_is_active, end_for_promotion
from core.store.tables import LIVE, ORIGINS

__all__ = ["HubSource", "LiveModels", "LiveRevision", "ShownState"]


@dataclass(frozen=True)
class LiveRevision:
    """The live revision of a model and the one to roll back to.

    Attributes:
        revision: Revision of its bundle, 12 hex digits, or `BUNDLED`.
        last_good: The previously live revision; None where there was none.
    """

    revision: str
    last_good: str | None


@dataclass(frozen=True)
class ShownState:
    """State of the models that an operator was shown before the decision to promote a revision.

    Attributes:
        live: The live revision; None to accept any.
        rollout: Number of the active rollout of the revision; None if none was shown.
    """

    live: str | None = None
    rollout: int | None = None


@dataclass(frozen=True)
class HubSource:
    """The Hub commit that a revision was pulled from.

    Attributes:
        repo: Repository on the Hub, `owner/name`.
        commit: Commit hash, 40 hex digits.
    """

    repo: str
    commit: str


class LiveModels:
    """The table of live and last good revisions.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, LiveRevision]:
        """Return the rows by model; models without a row serve their bundled revision."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(LIVE)).all()
        return {row.model: LiveRevision(row.revision, row.last_good) for row in rows}

    def changed_at(self) -> dict[str, datetime]:
        """Return the times in UTC since which the revisions of `all` are live, by model."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(LIVE.c.model, LIVE.c.changed_at)).all()
        return {row.model: in_utc(row.changed_at) for row in rows}

    def sources(self) -> dict[str, HubSource]:
        """Return the Hub commits of promoted revisions, where they were recorded."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(ORIGINS)).all()
        return {row.revision: HubSource(row.repo, row.sha) for row in rows}

    def promote(
        self,
        revisions: Mapping[str, str],
        bundled: Mapping[str, str],
        *,
        first: bool = False,
        origins: Mapping[str, HubSource] | None = None,
        operator: str | None = None,
        shown: ShownState | None = None,
    ) -> None:
        """Make revisions live in one transaction; the replaced ones become last good.

        Active rollouts of models whose live revision changes end in the same transaction.

        Args:
            revisions: Revision, or `BUNDLED`, by model.
            bundled: Revisions of the bundled models, 12 hex digits, by model; `BUNDLED` becomes the
                last good one at a model's first promotion.
            first: Whether to skip models that were promoted before.
            origins: Hub commits by revision, recorded so that other machines can pull them.
            operator: Operator for the audit log; None where the caller records the command.
            shown: State of the models before the promotion; None to accept any.

        Raises:
            ChangedError: The state differs, unless the revision is live already.
        """
        with self._database.write() as connection:
            self._lock(connection)
            for revision, origin in (origins or {}).items():
                whence = {"repo": origin.repo, "sha": origin.commit}
                upsert(connection, ORIGINS, {"revision": revision}, whence)
            for model, revision in revisions.items():
                if operator is not None:
                    entry = AuditEntry.now(operator, f"promote {model} {revision}", "is live")
                    record_entry(connection, entry)
                row = connection.execute(sa.select(LIVE).where(LIVE.c.model == model)).first()
                before = BUNDLED if row is None else row.revision
                if shown is not None and before != revision:
                    _check_shown(connection, model, shown, before)
                values = {"revision": revision, "changed_at": datetime.now(UTC)}
                if row is None:
                    last_good = BUNDLED if model in bundled else None
                    new = values | {"model": model, "last_good": last_good}
                    connection.execute(sa.insert(LIVE).values(new))
                    if revision != BUNDLED:  # which has been live before
                        end_for_promotion(connection, model, (revision,))
                elif row.revision != revision and not first:
                    new = values | {"last_good": row.revision}
                    connection.execute(sa.update(LIVE).where(LIVE.c.model == model).values(new))
                    end_for_promotion(connection, model, _names(revision, bundled.get(model)))

    def roll_back(
        self,
        model: str,
        bundled: str | None = None,
        *,
        expected: LiveRevision | None = None,
        operator: str | None = None,
    ) -> LiveRevision:
        """Swap the live and the last good revision of a model.

        Args:
            model: Name of the model.
            bundled: Revision of the bundled model, 12 hex digits; None where there is none.
            operator: As for `promote`.
            expected: State before the swap; None to accept any.

        Returns:
            The state after the swap.

        Raises:
            ChangedError: The state differs from `expected`.
            StoreError: The model has no last good revision.
        """
        with self._database.write() as connection:
            self._lock(connection)
            row = connection.execute(sa.select(LIVE).where(LIVE.c.model == model)).first()
            before = None if row is None else LiveRevision(row.revision, row.last_good)
            if expected is not None and before != expected:
                raise ChangedError(
                    f"The rollback of {model} from {expected.revision} to {expected.last_good} was "
                    "not made: another revision was promoted in the meantime. Run `tensight "
                    "models list` to see which one is live, then decide again."
                )
            if row is None or row.last_good is None:
                raise StoreError(
                    f"Cannot roll back {model}: no other revision of it was live before. Run "
                    "`tensight models list` to see its revisions."
                )
            swapped = {
                "revision": row.last_good,
                "last_good": row.revision,
                "changed_at": datetime.now(UTC),
            }
            connection.execute(sa.update(LIVE).where(LIVE.c.model == model).values(swapped))
            end_for_promotion(connection, model, _names(row.last_good, bundled))
            if operator is not None:
                outcome = f"{row.last_good} is live, no longer {row.revision}"
                record_entry(connection, AuditEntry.now(operator, f"rollback {model}", outcome))
        return LiveRevision(row.last_good, row.revision)

    def _lock(self, connection: sa.Connection) -> None:
        """Let one transaction at a time read and replace rows; others still read.

        SQLite allows one writer anyway. In PostgreSQL, two that find no row would both insert one.
        """
        if self._database.is_shared:
            connection.execute(sa.text("LOCK TABLE live IN SHARE ROW EXCLUSIVE MODE"))


def _check_shown(connection: sa.Connection, model: str, shown: ShownState, live: str) -> None:
    """Raise ChangedError if the state of a model is not the one that an operator was shown."""
    if shown.rollout is not None:
        check_is_active(connection, shown.rollout)
    if shown.live not in (None, live):
        raise ChangedError(
            f"Nothing was promoted: {live} of {model} was made live in the meantime, in place of "
            f"{shown.live}. Run `tensight models list` to see the revisions, then decide again."
        )


def _names(revision: str, bundled: str | None) -> tuple[str, ...]:
    """Return the names by which a rollout may know a revision, which may be `BUNDLED`."""
    return (revision, bundled) if revision == BUNDLED and bundled is not None else (revision,)
