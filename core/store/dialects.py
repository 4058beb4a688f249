"""Statements that SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["clock", "insert", "is_postgresql", "upsert"]

_MOMENT = sa.DateTime(timezone=True)


def is_postgresql(connection: sa.Connection) -> bool:
    """Return whether a connection is one to PostgreSQL."""
    return connection.dialect.name == "postgresql"


def insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Build an insert into a table, of the kind that has `on_conflict_do_nothing`."""
    return postgresql.insert(table) if is_postgresql(connection) else sqlite.insert(table)


def upsert(
    connection: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Insert a row, or update the one that has its key.

    Args:
        connection: The connection.
        table: The table.
        key: The columns of a primary key or unique index.
        values: The other columns.
    """
    new = insert(connection, table).values({**key, **values})
    connection.execute(new.on_conflict_do_update(index_elements=[*key], set_=dict(values)))


def clock(connection: sa.Connection, later_s: float = 0.0) -> sa.ColumnElement[datetime]:
    """Build the current time, by the clock that all processes of a database share.

    Args:
        connection: The connection.
        later_s: Seconds that are added to it.
    """
    later = timedelta(seconds=later_s)
    if is_postgresql(connection):
        now: sa.ColumnElement[datetime] = sa.func.statement_timestamp(type_=_MOMENT)
        return now + sa.literal(later, sa.Interval) if later else now
    return sa.literal(datetime.now(UTC) + later, _MOMENT)
