"""Flags that operators set, such as maintenance mode."""

from __future__ import annotations

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import upsert
from core.store.tables import SWITCHES

__all__ = ["Flags"]


class Flags:
    """The table of flags, each on or off.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> bool:
        """Return whether a flag is on; flags that were never set are off."""
        select = sa.select(SWITCHES.c.on).where(SWITCHES.c.name == name)
        with self._database.read() as connection:
            return bool(connection.execute(select).scalar())

    def set(self, name: str, *, on: bool) -> None:
        """Turn a flag on or off."""
        with self._database.write() as connection:
            upsert(connection, SWITCHES, {"name": name}, {"on": on})
