"""The database connection: SQLite in TENSIGHT_HOME, or what TENSIGHT_DATABASE_URL names."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.errors import StoreError
from core.lock import locked
from core.output import PRIVATE_FILE, private_folder
from core.redaction import credentials, masked_value, without_secrets
from core.settings import Settings
from core.store.tables import HEAD

__all__ = ["Database", "in_utc"]

_LOCKED_S = 60
_BUSY_S = 10
# A connection to a machine that is gone ends after ten seconds; nothing else would end it.
_KEEPALIVE = {"keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3}
_KEEPALIVE |= {"tcp_user_timeout": 10_000}
# Key of the PostgreSQL advisory lock; an arbitrary number.
_LOCK = 0x7E5516
# Since this schema version, files are private and deleted rows are overwritten.
_SCRUBBED_SINCE = "0006"
_MIGRATIONS = Path(__file__).parent / "migrations"


logger = logging.getLogger(__name__)


class Database:
    """Connections to the database. Safe to share between threads, and between processes.

    Args:
        url: URL of the database.

    Raises:
        StoreError: From every method, if the database is not available.
    """

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._secrets = credentials(url.render_as_string(hide_password=False))
        with self.translate_errors():
            self.engine = sa.create_engine(
                url,
                connect_args=_arguments(url),
                hide_parameters=True,  # errors must not show what users wrote
            )
        self._reading = self.engine.execution_options(reading=True)
        self._closed = False
        sa.event.listen(self.engine, "checkin", self._on_checkin)
        if url.get_backend_name() == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """Connect to the database of the settings, and create or migrate its tables if necessary.

        Raises:
            StoreError: The database is not available, or belongs to a newer version of TenSight.
        """
        url = _url(settings)
        database = cls(url)
        with database._closed_on_error(), database.translate_errors(), _locked(url):
            if database._version() != HEAD:
                database._migrate()
        return database

    @classmethod
    def find(cls, settings: Settings) -> Database | None:
        """Connect as `open` does; return None if there is no database yet.

        Raises:
            StoreError: As in `open`.
        """
        url = _url(settings)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return None
        database = cls(url)
        with database._closed_on_error(), database.translate_errors():
            version = database._version()
        if version == HEAD:
            return database
        database.close()
        return cls.open(settings)

    def scrub(self) -> None:
        """Erase deleted rows from the files of a SQLite database.

        Pages are overwritten when rows are deleted (`secure_delete`), but the write-ahead log keeps
        their content until a checkpoint truncates it, which this does. While another process reads,
        the log cannot be truncated, and the next call tries again.
        """
        if self._url.get_backend_name() != "sqlite":
            return
        with self.translate_errors(), self._unmanaged() as cursor:
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            logger.warning("Deleted rows stay in the write-ahead log until it can be truncated")

    @contextmanager
    def _unmanaged(self) -> Iterator[Any]:
        """Yield a SQLite cursor outside any transaction."""
        connection = self.engine.raw_connection()
        try:
            yield connection.cursor()
        finally:
            connection.close()

    @property
    def file(self) -> Path:
        """File of a SQLite database."""
        return Path(self._url.database or "tensight.db")

    @property
    def is_shared(self) -> bool:
        """True if processes on several machines can use the database at once."""
        return self._url.get_backend_name() != "sqlite"

    def close(self) -> None:
        """Close all connections; those in use are closed when their transaction ends."""
        self._closed = True
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a read-only transaction, which writers do not block."""
        with self.translate_errors(), self._transaction(self._reading) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a write transaction: committed at the end, rolled back on an error."""
        with self.translate_errors(), self._transaction(self.engine) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        pool = self.engine.pool
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            if self._closed:
                # `close` misses a connection that is being returned meanwhile.
                pool.dispose()

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Translate errors of SQLAlchemy, its drivers and the file system.

        Raises:
            StoreError: A driver is not installed, or the database is not available.
        """
        try:
            yield
        except ImportError as error:
            raise StoreError(
                f"The database {self._shown} needs a package that is not installed: {error}. For "
                "PostgreSQL, install the extra 'postgres'."
            ) from error
        except (sa.exc.SQLAlchemyError, OSError) as error:
            words = str(getattr(error, "orig", None) or error).split()
            reason = without_secrets(" ".join(words), self._secrets).removesuffix(".")
            raise StoreError(
                f"The database {self._shown} is not available: {reason}. Check that it exists, "
                "that this user can write to it, and that TENSIGHT_DATABASE_URL is correct."
            ) from error

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _on_checkin(self, _connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        # Nobody would close it in the pool.
        if self._closed:
            record.invalidate()

    def _version(self) -> str | None:
        """Return the schema version; None if there are no tables."""
        with self._reading.begin() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

    def _migrate(self) -> None:
        # Slow imports that are needed once per schema version.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        config = Config()
        # The configuration interpolates percent signs.
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        version = self._version()
        known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
        if version is not None and version not in known:
            raise StoreError(
                f"The database {self._shown} belongs to a newer version of TenSight: its schema is "
                f"{version}, and this version supports up to {HEAD}. Upgrade TenSight, or set "
                "TENSIGHT_DATABASE_URL to another database."
            )
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if version is not None and version < _SCRUBBED_SINCE:
            self._tighten()

    def _tighten(self) -> None:
        """Make the files of an older SQLite database private, and erase its deleted rows."""
        if self._url.get_backend_name() != "sqlite":
            return
        file = self.file
        for each in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            with suppress(OSError):
                each.chmod(PRIVATE_FILE)
        try:
            with self._unmanaged() as cursor:
                # Rows deleted by older versions are still in free pages.
                cursor.execute("VACUUM")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            logger.warning("Rows deleted by an older version may remain in free pages")

    @property
    def _shown(self) -> str:
        return masked_value(self._url.render_as_string(hide_password=True))


def in_utc(at: datetime) -> datetime:
    """Convert a time from the database to UTC.

    SQLite returns it in UTC without a time zone, PostgreSQL in the time zone of the server.
    """
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _url(settings: Settings) -> sa.URL:
    if settings.database_url is None:
        return sa.URL.create("sqlite", database=str(settings.database_file))
    value = settings.database_url.get_secret_value()
    # ValueError: a port that is no number.
    with suppress(sa.exc.ArgumentError, ValueError):
        url = sa.make_url(value)
        # Otherwise a part of a user or password with @ would be taken for the host, and shown.
        if url.host is None or value.partition("?")[0].count("@") <= 1:
            return url
    # Without the cause, which may contain a part of the password.
    raise StoreError(
        "TENSIGHT_DATABASE_URL is not a database URL such as "
        "postgresql+psycopg://user:password@host/name. Correct or unset it. Write a user or "
        "password with @, / or : percent-encoded: %40, %2F, %3A."
    )


def _arguments(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": _BUSY_S}
    return {"connect_timeout": _BUSY_S, **_KEEPALIVE}


@contextmanager
def _locked(url: sa.URL) -> Iterator[None]:
    """Hold the lock under which one process at a time creates or migrates tables."""
    if url.get_backend_name() != "sqlite":
        engine = sa.create_engine(url, connect_args=_arguments(url))
        try:
            with engine.begin() as connection:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                yield
        finally:
            engine.dispose()
        return
    file = Path(url.database or "tensight.db")
    private_folder(file.parent)
    busy = StoreError(
        f"The database is locked: another process has been migrating it for {_LOCKED_S} s. Try "
        "again when that process has ended."
    )
    lock = file.with_suffix(".lock")
    with locked(lock, timeout_s=_LOCKED_S, on_timeout=busy, mode=PRIVATE_FILE):
        # SQLite gives its log files the mode of the database file.
        file.touch(mode=PRIVATE_FILE)
        yield


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # SQLAlchemy begins transactions (see below), as the driver would begin them too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers do not wait for a writer, and committed data survives a power failure.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Deleted rows are overwritten instead of left in free pages.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads before it writes would fail if another one wrote in between.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
