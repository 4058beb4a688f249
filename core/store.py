"""What must outlive the process: which revisions are live, what people say, the bot's inbox.

SQLite in TENSIGHT_HOME, or the database that TENSIGHT_DATABASE_URL names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from filelock import FileLock, Timeout

from core.bundle.folder import BUNDLED
from core.errors import StoreError
from core.settings import Settings

__all__ = [
    "HEAD",
    "MOST_PHOTOS",
    "NONE",
    "Act",
    "Answered",
    "Chat",
    "Feedback",
    "Live",
    "Origin",
    "Store",
    "Wild",
]

NONE = "none"
"""What a visitor says of a photo that shows none of the labels."""

HEAD = "0005"
"""The newest version of the tables, in migrations/versions."""

MOST_PHOTOS = 10_000
"""Photos that are kept of visitors who agreed; so that nobody can fill the disk with them."""

_LOCKED_S = 60
_BUSY_S = 10
# Of PostgreSQL's advisory lock: any number that nothing else takes.
_LOCK = 0x7E5516
_MIGRATIONS = Path(__file__).parent / "migrations"

_TABLES = sa.MetaData()
_LIVE = sa.Table(
    "live",
    _TABLES,
    sa.Column("model", sa.String(63), primary_key=True),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("last_good", sa.String(12)),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
)
_ORIGINS = sa.Table(
    "origins",
    _TABLES,
    sa.Column("revision", sa.String(12), primary_key=True),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("sha", sa.String(40), nullable=False),
)
_FEEDBACK = sa.Table(
    "feedback",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("front", sa.String(16), nullable=False),
    sa.Column("person", sa.String(64), index=True),
    sa.Column("model", sa.String(63), nullable=False),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(8), nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("truth", sa.Text, nullable=False),
    sa.Column("photo", sa.LargeBinary),
)
_INBOX = sa.Table(
    "inbox",
    _TABLES,
    sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("chat", sa.BigInteger, index=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("done_at", sa.DateTime(timezone=True), index=True),
)
_CHATS = sa.Table(
    "chats",
    _TABLES,
    sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(63)),
    sa.Column("language", sa.String(2)),
    sa.Column("keep_photos", sa.Boolean, nullable=False),
)
_ANSWERS = sa.Table(
    "answers",
    _TABLES,
    sa.Column("key", sa.String(16), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("person", sa.String(64), index=True),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("model", sa.String(63), nullable=False),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(8), nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("judged", sa.Boolean, nullable=False),
)
_SWITCHES = sa.Table(
    "switches",
    _TABLES,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("on", sa.Boolean, nullable=False),
)
_AUDIT = sa.Table(
    "audit",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("operator", sa.String(64), nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("doing", sa.BigInteger),  # the bot that was told to, until the outcome is known
)


@dataclass(frozen=True)
class Chat:
    """What a chat chose; None where it did not.

    Attributes:
        model: Name of the model that answers there.
        language: `en` or `nl`.
        keep_photos: Whether its photos may be kept with what is said of them.
    """

    model: str | None = None
    language: str | None = None
    keep_photos: bool = False


@dataclass(frozen=True)
class Answered:
    """An answer that a chat may come back to.

    Attributes:
        person: Keyed hash of who sent the photo.
        file: What the photo can be fetched again by.
        model, revision, answer, verdict, scores: Of the prediction; `answer` is its label.
        judged: Whether somebody said that it is right, or wrong.
    """

    person: str | None
    file: str
    model: str
    revision: str
    answer: str
    verdict: str
    scores: Mapping[str, float]
    judged: bool = False


@dataclass(frozen=True)
class Act:
    """What an operator did: when, who (a keyed hash), what, and what came of it."""

    at: datetime
    operator: str
    act: str
    outcome: str


@dataclass(frozen=True)
class Feedback:
    """What a visitor says of an answer.

    Attributes:
        front: `page` or `bot`.
        model, revision, answer, verdict, scores: Of the prediction; `answer` is its label.
        truth: The label that is right, or `none`.
        person: Keyed hash of who says it; None where nobody is told from another.
        photo: JPEG without EXIF, as `to_archival_jpeg` makes it; None unless the visitor agreed.
    """

    front: Literal["page", "bot"]
    model: str
    revision: str
    answer: str
    verdict: str
    scores: Mapping[str, float]
    truth: str
    person: str | None = None
    photo: bytes | None = None

    @property
    def right(self) -> bool:
        """Whether the answer was: its label, or that the photo shows none."""
        return _right(self.answer, self.verdict, self.truth)


@dataclass(frozen=True)
class Wild:
    """How a revision of a model does on photos that visitors judged: `right` of `n`."""

    model: str
    revision: str
    n: int
    right: int


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
class Origin:
    """Where a revision came from.

    Attributes:
        repo: Repository on the Hub, `owner/name`.
        commit: Of that repository, 40 hex digits.
    """

    repo: str
    commit: str


class Store:
    """The database. Safe to share between threads, and between processes.

    Raises:
        StoreError: From every method, where the database cannot be used.
    """

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        with self._telling():
            self._engine = sa.create_engine(
                # What somebody wrote must not stand in an error.
                url,
                connect_args=_arguments(url),
                hide_parameters=True,
            )
        self._reading = self._engine.execution_options(reading=True)
        if url.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """The database of the settings; it is made, or brought up to date, where it must be.

        Raises:
            StoreError: It cannot be reached or written, or is of a newer TenSight.
        """
        url = _url(settings)
        store = cls(url)
        with store._telling(), _locked(url):
            if store._version() != HEAD:
                store._migrate()
        return store

    @classmethod
    def find(cls, settings: Settings) -> Store | None:
        """The same, but None where there is no database yet.

        Raises:
            StoreError: As in `open`.
        """
        url = _url(settings)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return None
        store = cls(url)
        with store._telling():
            version = store._version()
        if version == HEAD:
            return store
        store.close()
        return cls.open(settings)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def live(self) -> dict[str, Live]:
        """What was made live, by model; of others the bundled revision is."""
        with self._telling(), self._reading.begin() as connection:
            rows = connection.execute(sa.select(_LIVE)).all()
        return {row.model: Live(row.revision, row.last_good) for row in rows}

    def origins(self) -> dict[str, Origin]:
        """Where revisions came from that were made live, as far as it is known."""
        with self._telling(), self._reading.begin() as connection:
            rows = connection.execute(sa.select(_ORIGINS)).all()
        return {row.revision: Origin(row.repo, row.sha) for row in rows}

    def promote(
        self,
        revisions: Mapping[str, str],
        bundled: Collection[str],
        *,
        first: bool = False,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        """Make revisions live, all of them or none.

        Args:
            revisions: Model -> revision, or `BUNDLED`.
            bundled: Models that have a bundled revision; it is the last good one of those of which
                none was made live yet.
            first: Leave models alone of which one was made live already.
            origins: Where revisions came from; that is kept for other machines.
        """
        with self._telling(), self._engine.begin() as connection:
            for revision, origin in (origins or {}).items():
                whence = {"repo": origin.repo, "sha": origin.commit}
                known = sa.update(_ORIGINS).where(_ORIGINS.c.revision == revision)
                if connection.execute(known.values(whence)).rowcount == 0:
                    first_known = {"revision": revision} | whence
                    connection.execute(sa.insert(_ORIGINS).values(first_known))
            for model, revision in revisions.items():
                row = connection.execute(sa.select(_LIVE).where(_LIVE.c.model == model)).first()
                values = {"revision": revision, "changed_at": datetime.now(UTC)}
                if row is None:
                    last_good = BUNDLED if model in bundled else None
                    new = values | {"model": model, "last_good": last_good}
                    connection.execute(sa.insert(_LIVE).values(new))
                elif row.revision != revision and not first:
                    new = values | {"last_good": row.revision}
                    connection.execute(sa.update(_LIVE).where(_LIVE.c.model == model).values(new))

    def roll_back(self, model: str) -> Live:
        """Swap the live revision of a model and the last good one.

        Returns:
            What is live now.

        Raises:
            StoreError: There is no last good one.
        """
        with self._telling(), self._engine.begin() as connection:
            row = connection.execute(sa.select(_LIVE).where(_LIVE.c.model == model)).first()
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
            connection.execute(sa.update(_LIVE).where(_LIVE.c.model == model).values(swapped))
        return Live(row.last_good, row.revision)

    def add_feedback(self, feedback: Feedback) -> bool:
        """Keep what a visitor says; of photos `MOST_PHOTOS` at most.

        Returns:
            Whether the photo was kept too.
        """
        with self._telling(), self._engine.begin() as connection:
            return _insert_feedback(connection, feedback)

    def in_the_wild(self) -> list[Wild]:
        """How each revision of each model does, by model, the one last judged first."""
        columns = (_FEEDBACK.c.model, _FEEDBACK.c.revision)
        said = (_FEEDBACK.c.answer, _FEEDBACK.c.verdict, _FEEDBACK.c.truth)
        counted = sa.func.count().label("n")
        last = sa.func.max(_FEEDBACK.c.at).label("last")
        select = sa.select(*columns, *said, counted, last).group_by(*columns, *said)
        with self._telling(), self._reading.begin() as connection:
            rows = connection.execute(select.order_by(last.desc())).all()
        found: dict[tuple[str, str], Wild] = {}
        for row in rows:
            key = (row.model, row.revision)
            before = found.get(key, Wild(*key, 0, 0))
            right = row.n if _right(row.answer, row.verdict, row.truth) else 0
            found[key] = Wild(*key, before.n + row.n, before.right + right)
        return sorted(found.values(), key=lambda each: each.model)

    def judged_photos(self) -> Iterator[tuple[int, str, bytes]]:
        """Number, truth and JPEG of every photo that was kept, the oldest first."""
        columns = (_FEEDBACK.c.id, _FEEDBACK.c.truth, _FEEDBACK.c.photo)
        some = sa.select(*columns).where(_FEEDBACK.c.photo.is_not(None)).order_by(_FEEDBACK.c.id)
        last = 0
        while True:
            # Some at a time: all of them may be more than memory holds.
            with self._telling(), self._reading.begin() as connection:
                rows = connection.execute(some.where(_FEEDBACK.c.id > last).limit(100)).all()
            if not rows:
                return
            for row in rows:
                yield row.id, row.truth, bytes(row.photo)
            last = rows[-1].id

    def receive(self, bot: int, updates: Sequence[tuple[int, int | None, str]]) -> set[int]:
        """Put updates into the inbox; what is or was there already stays as it is.

        Args:
            bot: Id of the bot.
            updates: Id, chat and content of each.

        Returns:
            Ids of those that are not done: who writes them down twice, as where the connection
            broke the first time, hears of them again.
        """
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = [
            {"bot": bot, "update_id": number, "chat": chat, "at": now, "payload": payload}
            for number, chat, payload in updates
        ]
        if not rows:
            return set()
        with self._telling(), self._engine.begin() as connection:
            known = connection.execute(
                sa.select(_INBOX.c.update_id, _INBOX.c.done_at).where(
                    _INBOX.c.bot == bot, _INBOX.c.update_id.in_([r["update_id"] for r in rows])
                )
            ).all()
            there = {row.update_id for row in known}
            new = {row["update_id"]: row for row in rows if row["update_id"] not in there}
            if new:
                connection.execute(sa.insert(_INBOX), list(new.values()))
        return {*new, *(row.update_id for row in known if row.done_at is None)}

    def waiting(self, bot: int) -> list[tuple[int, str]]:
        """Id and content of each update of the inbox that is not done, the oldest first."""
        select = (
            sa.select(_INBOX.c.update_id, _INBOX.c.payload)
            .where(_INBOX.c.bot == bot, _INBOX.c.done_at.is_(None))
            .order_by(_INBOX.c.update_id)
        )
        with self._telling(), self._reading.begin() as connection:
            return [(row.update_id, row.payload or "") for row in connection.execute(select)]

    def finish(self, bot: int, updates: Sequence[int]) -> None:
        """Mark updates as done; what was in them, and whose they were, is deleted."""
        change = (
            sa.update(_INBOX)
            .where(_INBOX.c.bot == bot, _INBOX.c.update_id.in_(updates))
            .values(done_at=datetime.now(UTC), payload=None, chat=None)
        )
        with self._telling(), self._engine.begin() as connection:
            connection.execute(change)

    def chat(self, chat: int) -> Chat:
        """What a chat chose."""
        with self._telling(), self._reading.begin() as connection:
            row = connection.execute(sa.select(_CHATS).where(_CHATS.c.chat == chat)).first()
        return Chat() if row is None else Chat(row.model, row.language, row.keep_photos)

    def set_chat(self, chat: int, settings: Chat) -> None:
        """Keep what a chat chose."""
        values = asdict(settings)
        with self._telling(), self._engine.begin() as connection:
            done = connection.execute(sa.update(_CHATS).where(_CHATS.c.chat == chat).values(values))
            if done.rowcount == 0:
                connection.execute(sa.insert(_CHATS).values(values | {"chat": chat}))

    def add_answer(self, key: str, answer: Answered) -> None:
        """Keep an answer by a key of the caller's; of one that is there already, the first."""
        values = {**asdict(answer), "key": key, "at": datetime.now(UTC)}
        there = sa.select(_ANSWERS.c.key).where(_ANSWERS.c.key == key)
        with self._telling(), self._engine.begin() as connection:
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(_ANSWERS).values(values))

    def answer(self, key: str) -> Answered | None:
        """The answer of a key; None where there is none, or no more."""
        with self._telling(), self._reading.begin() as connection:
            row = connection.execute(sa.select(_ANSWERS).where(_ANSWERS.c.key == key)).first()
        if row is None:
            return None
        return Answered(
            row.person,
            row.file,
            row.model,
            row.revision,
            row.answer,
            row.verdict,
            row.scores,
            row.judged,
        )

    def judge(self, key: str, feedback: Feedback) -> bool:
        """Keep what somebody says of an answer, as `add_feedback`.

        Returns:
            False where somebody did before, or the answer is gone.
        """
        first = (
            sa.update(_ANSWERS)
            .where(_ANSWERS.c.key == key, _ANSWERS.c.judged.is_(False))
            .values(judged=True)
        )
        with self._telling(), self._engine.begin() as connection:
            if connection.execute(first).rowcount == 0:
                return False
            _insert_feedback(connection, feedback)
        return True

    def of_person(self, person: str) -> tuple[int, int, int]:
        """How many answers a person got that are still kept, judged, and judged right."""
        mine = sa.select(sa.func.count()).where(_ANSWERS.c.person == person)
        said = sa.select(_FEEDBACK.c.answer, _FEEDBACK.c.verdict, _FEEDBACK.c.truth)
        with self._telling(), self._reading.begin() as connection:
            n = connection.execute(mine).scalar_one()
            rows = connection.execute(said.where(_FEEDBACK.c.person == person)).all()
        return n, len(rows), sum(_right(row.answer, row.verdict, row.truth) for row in rows)

    def forget(self, person: str, chats: Collection[int]) -> None:
        """Delete all that is kept of a person, and what chats of theirs chose."""
        with self._telling(), self._engine.begin() as connection:
            connection.execute(sa.delete(_FEEDBACK).where(_FEEDBACK.c.person == person))
            connection.execute(sa.delete(_ANSWERS).where(_ANSWERS.c.person == person))
            connection.execute(sa.delete(_CHATS).where(_CHATS.c.chat.in_(chats)))

    def switch(self, name: str) -> bool:
        """Whether a switch is on; off where nobody turned it."""
        select = sa.select(_SWITCHES.c.on).where(_SWITCHES.c.name == name)
        with self._telling(), self._reading.begin() as connection:
            return bool(connection.execute(select).scalar())

    def turn(self, name: str, *, on: bool) -> None:
        """Turn a switch on or off."""
        with self._telling(), self._engine.begin() as connection:
            change = sa.update(_SWITCHES).where(_SWITCHES.c.name == name).values(on=on)
            if connection.execute(change).rowcount == 0:
                connection.execute(sa.insert(_SWITCHES).values(name=name, on=on))

    def add_act(self, operator: str, act: str, outcome: str) -> None:
        """Keep what an operator did."""
        values = {"at": datetime.now(UTC), "operator": operator, "act": act, "outcome": outcome}
        with self._telling(), self._engine.begin() as connection:
            connection.execute(sa.insert(_AUDIT).values(values))

    def begin_act(self, bot: int, operator: str, act: str) -> int:
        """Keep that an operator told a bot to do something; a number for `end_act`."""
        values = {"operator": operator, "act": act, "outcome": "begun", "doing": bot}
        insert = sa.insert(_AUDIT).values(at=datetime.now(UTC), **values).returning(_AUDIT.c.id)
        with self._telling(), self._engine.begin() as connection:
            return int(connection.execute(insert).scalar_one())

    def end_act(self, number: int, outcome: str) -> None:
        """Keep what came of something that was begun."""
        self._end(_AUDIT.c.id == number, lambda _: outcome)

    def end_acts(self, bot: int, outcome: Callable[[str], str]) -> list[Act]:
        """Keep what is to be said of all that a bot began and never ended.

        Args:
            bot: Whose they are.
            outcome: What is to be said, by what was begun.

        Returns:
            What is kept now, the first first.
        """
        return self._end(_AUDIT.c.doing == bot, outcome)

    def _end(self, which: sa.ColumnElement[bool], outcome: Callable[[str], str]) -> list[Act]:
        change = sa.update(_AUDIT).where(which).values(doing=None).returning(_AUDIT)
        with self._telling(), self._engine.begin() as connection:
            rows = sorted(connection.execute(change).all(), key=lambda row: int(row.id))
            now = datetime.now(UTC)
            ended = [Act(now, row.operator, row.act, outcome(row.act)) for row in rows]
            for each in ended:
                connection.execute(sa.insert(_AUDIT).values(asdict(each)))
        return ended

    def acts(self, most: int) -> list[Act]:
        """What operators did, the last first."""
        select = sa.select(_AUDIT).order_by(_AUDIT.c.id.desc()).limit(most)
        with self._telling(), self._reading.begin() as connection:
            rows = connection.execute(select).all()
        return [Act(_in_utc(row.at), row.operator, row.act, row.outcome) for row in rows]

    def clean(self, older_than: datetime) -> None:
        """Delete answers and updates from before a moment, answered or not."""
        with self._telling(), self._engine.begin() as connection:
            connection.execute(sa.delete(_ANSWERS).where(_ANSWERS.c.at < older_than))
            connection.execute(sa.delete(_INBOX).where(_INBOX.c.at < older_than))

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
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def _telling(self) -> Iterator[None]:
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


def _insert_feedback(connection: sa.Connection, feedback: Feedback) -> bool:
    photo = feedback.photo
    if photo is not None:
        kept = sa.select(sa.func.count()).where(_FEEDBACK.c.photo.is_not(None))
        if connection.execute(kept).scalar_one() >= MOST_PHOTOS:
            photo = None
    values = {**asdict(feedback), "photo": photo, "at": datetime.now(UTC)}
    connection.execute(sa.insert(_FEEDBACK).values(values))
    return photo is not None


def _right(answer: str, verdict: str, truth: str) -> bool:
    return verdict == NONE if truth == NONE else verdict != NONE and answer == truth


def _in_utc(at: datetime) -> datetime:
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
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(file.with_suffix(".lock"), timeout=_LOCKED_S):
            yield
    except Timeout as error:
        raise StoreError(
            f"Another process has been changing the database for {_LOCKED_S} s. Try again when it "
            "has ended."
        ) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # SQLAlchemy begins transactions (below), not the driver, which would begin too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers do not wait for a writer; what was committed outlives a power cut.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes then would fail where another wrote between.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
