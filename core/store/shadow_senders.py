"""The senders of the photos that shadows compare, so that /forget deletes the comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.store.database import Database
from core.store.rollout_evidence import answer_digest
from core.store.tables import ANSWERS, COMPARISONS, FEEDBACK, ROLLOUTS, SHADOW_SENDERS

__all__ = ["ShadowSenderTable", "forget_comparisons", "purge_senders"]

_PARAMETERS = 500
# A comparison is stored minutes after the answer at the latest; until then its sender is kept.
_COMPARED_WITHIN = timedelta(hours=1)


class ShadowSenderTable:
    """The table of the senders of photos that were answered while a shadow was active.

    A serving process stores comparisons without knowing who sent the photos, and possibly after
    their sender has asked to be forgotten. A row without a person marks such an answer: its
    comparison is deleted, or not stored.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def are_compared(self, models: Iterable[str]) -> bool:
        """Return whether a shadow may compare answers that these models give now."""
        # Answers that were given before a shadow ended are compared afterwards.
        since = datetime.now(UTC) - _COMPARED_WITHIN
        is_shadow = (ROLLOUTS.c.kind == "shadow") & ROLLOUTS.c.model.in_(list(models))
        may_compare = ROLLOUTS.c.ended_at.is_(None) | (ROLLOUTS.c.ended_at > since)
        select = sa.select(ROLLOUTS.c.id).where(is_shadow, may_compare).limit(1)
        with self._database.read() as connection:
            return connection.execute(select).first() is not None

    def add(
        self, person: str | None, digests: Sequence[str], *, of_answer: str | None = None
    ) -> None:
        """Record who sent a photo that models answered.

        Args:
            person: Keyed hash of the sender's id; None if they have asked to be forgotten
                meanwhile, so that nothing may be stored about the answers.
            digests: Digests of the answers, see `answer_digest`.
            of_answer: Key of an earlier answer to the photo, which is no longer stored if the
                sender has asked to be forgotten meanwhile.
        """
        if not digests:
            return
        with self._database.write() as connection:
            if of_answer is not None:
                earlier = sa.select(ANSWERS.c.key).where(ANSWERS.c.key == of_answer)
                # /forget waits for this transaction, or this one sees what it deleted.
                if connection.execute(earlier.with_for_update(read=True)).first() is None:
                    person = None
            common = {"person": person, "at": datetime.now(UTC)}
            rows = [common | {"answer": digest} for digest in digests]
            connection.execute(sa.insert(SHADOW_SENDERS), rows)
            if person is None:
                _delete_comparisons(connection, digests)


def forget_comparisons(connection: sa.Connection, person: str) -> None:
    """Delete the shadow comparisons of a user's photos, and prevent that others are stored.

    Args:
        connection: The transaction.
        person: Keyed hash of the user's id.
    """
    # Whoever records the sender of an answer waits for the end of this transaction from here on.
    digests = [
        answer_digest(row.model, row.revision, row.scores)
        for select in (_answered(ANSWERS, person).with_for_update(), _answered(FEEDBACK, person))
        for row in connection.execute(select)
    ]
    # Before the deletion, since comparisons are stored in the meantime. The order is that of
    # those who store them, so that none of the two waits for the other one forever.
    own_rows = SHADOW_SENDERS.c.person == person
    in_order = sa.select(SHADOW_SENDERS.c.id).where(own_rows).order_by(SHADOW_SENDERS.c.id)
    connection.execute(in_order.with_for_update())
    nulled = sa.update(SHADOW_SENDERS).where(own_rows).values(person=None)
    digests += connection.execute(nulled.returning(SHADOW_SENDERS.c.answer)).scalars()
    _delete_comparisons(connection, digests)


def purge_senders(connection: sa.Connection, moment: datetime) -> None:
    """Delete the senders of photos whose comparison was not stored, or is from before a time.

    They are deleted before their comparisons, in the order that /forget takes, so that the two
    cannot deadlock.

    Args:
        connection: The transaction.
        moment: The time.
    """
    is_same, is_kept = COMPARISONS.c.answer == SHADOW_SENDERS.c.answer, COMPARISONS.c.at >= moment
    compared = sa.select(COMPARISONS.c.id).where(is_same, is_kept)
    latest = max(moment, datetime.now(UTC) - _COMPARED_WITHIN)
    too_old = SHADOW_SENDERS.c.at < latest
    connection.execute(sa.delete(SHADOW_SENDERS).where(too_old, ~compared.exists()))


def _answered(table: sa.Table, person: str) -> sa.Select[Any]:
    """Select what `answer_digest` needs of a user's answers, or of those that they judged."""
    return sa.select(table.c.model, table.c.revision, table.c.scores).where(
        table.c.person == person
    )


def _delete_comparisons(connection: sa.Connection, digests: Sequence[str]) -> None:
    # In parts, since databases limit the number of parameters.
    for start in range(0, len(digests), _PARAMETERS):
        part = digests[start : start + _PARAMETERS]
        connection.execute(sa.delete(COMPARISONS).where(COMPARISONS.c.answer.in_(part)))
