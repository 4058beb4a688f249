"""Live revisions, as last read from the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from core.errors import StoreError
from core.registry.failures import FailureLog
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import LiveRevision
    from core.store.store import Store

__all__ = ["LiveRevisions"]


class LiveRevisions:
    """The live and last good revisions by model, cached until `refresh`.

    Args:
        settings: `home` and `database_url` are used.
        failures: Receives a message when the database is not available.
    """

    def __init__(self, settings: Settings, failures: FailureLog) -> None:
        self._settings = settings
        self._failures = failures
        self._store: Store | None = None
        self._live: Mapping[str, LiveRevision] | None = None

    def all(self) -> Mapping[str, LiveRevision]:
        """Return the rows by model as of the last refresh; the first call reads them."""
        return self.refresh() if self._live is None else self._live

    def refresh(self) -> Mapping[str, LiveRevision]:
        """Read the rows from the database, and return them by model.

        If the database is not available, the last known ones are kept and the failure is reported.
        """
        self._live = self._read()
        return self._live

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()

    def _read(self) -> Mapping[str, LiveRevision]:
        if self._store is None and not self._may_have_rows():
            return {}
        from core.store.store import Store  # noqa: PLC0415  # a slow import that few callers need

        try:
            if self._store is None:
                self._store = Store.find(self._settings)
            live = self._store.live.all() if self._store is not None else {}
        except StoreError as error:
            self._failures.report(str(error))
            return self._live or {}
        # The database is available again, so its next failure is reported again.
        self._failures.forget("database")
        return live

    def _may_have_rows(self) -> bool:
        """Return whether the database has a live revision, as far as SQLite alone can tell.

        Importing the store takes a quarter of the time of `tensight predict`, and most
        databases have none. Where SQLite cannot read the table, the store migrates it or reports
        the problem.
        """
        if self._settings.database_url is not None or not self._settings.has_database():
            return self._settings.has_database()
        file = self._settings.database_file.resolve()
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute("SELECT 1 FROM live").fetchone() is not None
        except sqlite3.Error:
            return True
