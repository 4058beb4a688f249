"""Which revision of each model is live."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from core.bundle.folder import BUNDLED
from core.errors import StoreError
from core.store.database import Database
from core.store.tables import LIVE, ORIGINS

__all__ = ["HubSource", "Live", "LiveModels"]


@dataclass(frozen=True)
class Live:
    """Which revision of a model answers.

    Attributes:
        revision: As of its bundle, 12 hex digits, or `BUNDLED`.
        last_good: The one before; None where there was none.
    """

    revision: str
    last_good: str | None


@dataclass(frozen=True)
class HubSource:
    """Where a revision came from.

    Attributes:
        repo: Repository on the Hub, `owner/name`.
        commit: Of that repository, 40 hex digits.
    """

    repo: str
    commit: str


class LiveModels:
    """The live revision of each model, and the last good one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Live]:
        """What was made live, by model; of others the bundled revision is."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(LIVE)).all()
        return {row.model: Live(row.revision, row.last_good) for row in rows}

    def sources(self) -> dict[str, HubSource]:
        """Where revisions came from that were made live, as far as it is known."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(ORIGINS)).all()
        return {row.revision: HubSource(row.repo, row.sha) for row in rows}

    def promote(
        self,
        revisions: Mapping[str, str],
        bundled: Collection[str],
        *,
        first: bool = False,
        origins: Mapping[str, HubSource] | None = None,
    ) -> None:
        """Make revisions live, all of them or none.

        Args:
            revisions: Model -> revision, or `BUNDLED`.
            bundled: Models that have a bundled revision; it is the last good one of those of which
                none was made live yet.
            first: Leave models alone of which one was made live already.
            origins: Where revisions came from; that is kept for other machines.
        """
        with self._database.write() as connection:
            for revision, origin in (origins or {}).items():
                whence = {"repo": origin.repo, "sha": origin.commit}
                known = sa.update(ORIGINS).where(ORIGINS.c.revision == revision)
                if connection.execute(known.values(whence)).rowcount == 0:
                    first_known = {"revision": revision} | whence
                    connection.execute(sa.insert(ORIGINS).values(first_known))
            for model, revision in revisions.items():
                row = connection.execute(sa.select(LIVE).where(LIVE.c.model == model)).first()
                values = {"revision": revision, "changed_at": datetime.now(UTC)}
                if row is None:
                    last_good = BUNDLED if model in bundled else None
                    new = values | {"model": model, "last_good": last_good}
                    connection.execute(sa.insert(LIVE).values(new))
                elif row.revision != revision and not first:
                    new = values | {"last_good": row.revision}
                    connection.execute(sa.update(LIVE).where(LIVE.c.model == model).values(new))

    def roll_back(self, model: str) -> Live:
        """Swap the live revision of a model and the last good one.

        Returns:
            What is live now.

        Raises:
            StoreError: There is no last good one.
        """
        with self._database.write() as connection:
            row = connection.execute(sa.select(LIVE).where(LIVE.c.model == model)).first()
            if row is None or row.last_good is None:
                raise StoreError(
                    f"There is nothing to roll {model} back to: no other revision of it was live. "
                    "`tensight models list` shows what is."
                )
            swapped = {
                "revision": row.last_good,
                "last_good": row.revision,
                "changed_at": datetime.now(UTC),
            }
            connection.execute(sa.update(LIVE).where(LIVE.c.model == model).values(swapped))
        return Live(row.last_good, row.revision)
