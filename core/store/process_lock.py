"""Locks that a process holds until it ends."""

from __future__ import annotations

import threading
from contextlib import suppress

import sqlalchemy as sa
from filelock import FileLock, Timeout

from core.errors import StoreError
from core.output import PRIVATE_FILE, private_folder
from core.store.database import Database

__all__ = ["ProcessLock"]

# After these seconds without an answer, PostgreSQL ends the session of a machine that is gone.
_KEEPALIVE = {"tcp_keepalives_idle": 2, "tcp_keepalives_interval": 2, "tcp_keepalives_count": 2}


class ProcessLock:
    """A lock that one process at a time holds, among all that use a database.

    With SQLite it is a lock file beside the database, with PostgreSQL an advisory lock of a session
    that stays open. Both are released when the process ends, however it ends. All methods block.

    Args:
        database: The database.
        name: Name of the lock; letters, digits and hyphens.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._guard = threading.RLock()
        self._file: FileLock | None = None
        self._session: sa.Connection | None = None

    def acquire(self) -> bool:
        """Take the lock; return False if another process holds it.

        Raises:
            StoreError: The database or the lock file cannot be used.
        """
        with self._guard:
            return self._lock_session() if self._database.is_shared else self._lock_file()

    def is_held(self) -> bool:
        """Return whether the lock is still held; a lost connection to PostgreSQL releases it."""
        with self._guard:
            if self._session is None:
                return self._file is not None
            try:
                self._session.execute(sa.text("SELECT 1"))
            except sa.exc.SQLAlchemyError:
                self.release()
                return False
            return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        with self._guard:
            if self._file is not None:
                self._file.release()
                self._file = None
            if self._session is not None:
                session, self._session = self._session, None
                with suppress(sa.exc.SQLAlchemyError):
                    # The server notices only later that a connection was closed.
                    if not session.invalidated:
                        session.execute(sa.text("SELECT pg_advisory_unlock_all()"))
                # A session in the pool would keep its settings.
                with suppress(sa.exc.SQLAlchemyError):
                    session.invalidate()
                session.close()

    def _lock_file(self) -> bool:
        file = self._database.file
        path = file.with_name(f"{file.stem}-{self._name}.lock")
        lock = FileLock(path, timeout=0, mode=PRIVATE_FILE, thread_local=False)
        try:
            private_folder(path.parent)
            lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(f"The lock file {path} cannot be used: {error}.") from error
        self._file = lock
        return True

    def _lock_session(self) -> bool:
        with self._database.translate_errors():
            session = self._database.engine.connect()
            session = session.execution_options(isolation_level="AUTOCOMMIT")
            try:
                taken = session.execute(
                    sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"),
                    {"name": self._name},
                ).scalar_one()
                for name, value in _KEEPALIVE.items() if taken else ():
                    session.execute(sa.text(f"SET {name} = {value}"))
            except BaseException:
                session.invalidate()
                session.close()
                raise
        if not taken:
            session.close()
            return False
        self._session = session
        return True
