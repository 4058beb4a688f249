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
from core.settings import Settings
from core.store.tables import HEAD

__all__ = ["Database", "in_utc"]

_LOCKED_S = 60
_BUSY_S = 10
# Of PostgreSQL's advisory lock: any number that nothing else takes.
_LOCK = 0x7E5516
# From this version of the tables on, files are private and deleted rows are overwritten.
_SCRUBBED_SINCE = "0006"
_MIGRATIONS = Path(__file__).parent / "migrations"


logger = logging.getLogger(__name__)


class Database:
    """Connections to the database. Safe to share between threads, and between processes.

    Raises:
        StoreError: From every use, where the database cannot be used.
    """

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        with self._translate_errors():
            self.engine = sa.create_engine(
                # What somebody wrote must not stand in an error.
                url,
                connect_args=_arguments(url),
                hide_parameters=True,
            )
        self._reading = self.engine.execution_options(reading=True)
        if url.get_backend_name() == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """Connect to the database of the settings; create or migrate its tables where needed.

        Raises:
            StoreError: It cannot be reached or written, or is of a newer TenSight.
        """
        url = _url(settings)
        database = cls(url)
        with database._translate_errors(), _locked(url):
            if database._version() != HEAD:
                database._migrate()
        return database

    @classmethod
    def find(cls, settings: Settings) -> Database | None:
        """Connect as `open` does; None where there is no database yet.

        Raises:
            StoreError: As in `open`.
        """
        url = _url(settings)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return None
        database = cls(url)
        with database._translate_errors():
            version = database._version()
        if version == HEAD:
            return database
        database.close()
        return cls.open(settings)

    def scrub(self) -> None:
        """Leave nothing of deleted rows in the files of a SQLite database.

        Pages are overwritten as rows are deleted (`secure_delete`), but the write-ahead log keeps
        what they held until it is copied into the database and emptied, which this does. While
        another process goes on reading, it stays; then the next call does it.
        """
        if self._url.get_backend_name() != "sqlite":
            return
        with self._translate_errors(), self._unmanaged() as cursor:
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            logger.warning("Deleted rows stay in the write-ahead log until it can be emptied")

    @contextmanager
    def _unmanaged(self) -> Iterator[Any]:
        """Yield a cursor of SQLite outside any transaction."""
        connection = self.engine.raw_connection()
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that only reads; a writer does not hold it up."""
        with self._translate_errors(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes: committed at the end, rolled back on an error."""
        with self._translate_errors(), self.engine.begin() as connection:
            yield connection

    def _version(self) -> str | None:
        """Version of the tables; None where there are none."""
        with self._reading.begin() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

    def _migrate(self) -> None:
        # They take a while to import, and are needed once a version.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        config = Config()
        # A value may hold %(names)s of others.
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        version = self._version()
        known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
        if version is not None and version not in known:
            raise StoreError(
                f"The database {self._shown} is of a newer TenSight (its tables are {version}, "
                f"this one knows up to {HEAD}). Update TenSight, or name another database in "
                "TENSIGHT_DATABASE_URL."
            )
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if version is not None and version < _SCRUBBED_SINCE:
            self._tighten()

    def _tighten(self) -> None:
        """Bring a SQLite database of an older TenSight to what new ones are from the start."""
        if self._url.get_backend_name() != "sqlite":
            return
        file = Path(self._url.database or "")
        for each in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            with suppress(OSError):
                each.chmod(PRIVATE_FILE)
        try:
            with self._unmanaged() as cursor:
                # What was deleted before pages were overwritten lies in free ones.
                cursor.execute("VACUUM")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            logger.warning("What was deleted before may still stand in free pages")

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Errors of the database as ours."""
        try:
            yield
        except ImportError as error:
            raise StoreError(
                f"The database {self._shown} needs a package that is not installed here: {error}. "
                "For PostgreSQL it is the extra 'postgres'."
            ) from error
        except (sa.exc.SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            raise StoreError(
                f"The database {self._shown} cannot be used: {reason}. See that it is there, that "
                "this user may write it, and that TENSIGHT_DATABASE_URL is right."
            ) from error


def in_utc(at: datetime) -> datetime:
    """SQLite forgets the zone, which is UTC; PostgreSQL tells the moment in that of the server."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _url(settings: Settings) -> sa.URL:
    if settings.database_url is None:
        return sa.URL.create("sqlite", database=str(settings.database_file))
    try:
        return sa.make_url(settings.database_url.get_secret_value())
    except sa.exc.ArgumentError as error:
        raise StoreError(
            "TENSIGHT_DATABASE_URL is no address of a database; it looks like "
            "postgresql+psycopg://user:password@host/name."
        ) from error


def _arguments(url: sa.URL) -> dict[str, Any]:
    name = "timeout" if url.get_backend_name() == "sqlite" else "connect_timeout"
    return {name: _BUSY_S}


@contextmanager
def _locked(url: sa.URL) -> Iterator[None]:
    """One process at a time makes or changes tables."""
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
        f"Another process has been changing the database for {_LOCKED_S} s. Try again when it "
        "has ended."
    )
    lock = file.with_suffix(".lock")
    with locked(lock, timeout_s=_LOCKED_S, on_timeout=busy, mode=PRIVATE_FILE):
        # SQLite gives its log the mode of the database.
        file.touch(mode=PRIVATE_FILE)
        yield


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # SQLAlchemy begins transactions (below), not the driver, which would begin too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers do not wait for a writer; what was committed outlives a power cut.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What was deleted is overwritten, not left in free pages.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes then would fail where another wrote between.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
