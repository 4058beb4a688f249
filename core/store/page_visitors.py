"""Visitors of the page who judge answers during a canary, identified by a hash until it ends."""

from __future__ import annotations

import sqlalchemy as sa

from core.store.tables import FEEDBACK, ROLLOUTS

__all__ = ["forget_visitors"]

_NUMBERED = "visitor "


def forget_visitors(connection: sa.Connection) -> None:
    """Replace the hashes of visitors whose canary has ended by numbers.

    The hash is made from a network address. The number still tells visitors apart, so the evidence,
    which counts at most a few answers of each, stays the same.

    Args:
        connection: The transaction.
    """
    runs = sa.exists().where(
        ROLLOUTS.c.kind == "canary",
        ROLLOUTS.c.ended_at.is_(None),
        ROLLOUTS.c.model == FEEDBACK.c.model,
        ROLLOUTS.c.began_at <= FEEDBACK.c.at,
    )
    person = FEEDBACK.c.person
    is_hash = sa.and_(
        FEEDBACK.c.front == "page", person.is_not(None), ~person.like(f"{_NUMBERED}%")
    )
    first = sa.select(person, sa.func.min(FEEDBACK.c.id)).where(is_hash, ~runs)
    for visitor, number in connection.execute(first.group_by(person)).all():
        own = sa.update(FEEDBACK).where(person == visitor, FEEDBACK.c.front == "page")
        connection.execute(own.values(person=f"{_NUMBERED}{number}"))
