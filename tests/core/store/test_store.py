"""The database: which revision is live, and what fronts keep; in SQLite and in PostgreSQL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from core.bundle.folder import BUNDLED
from core.errors import StoreError
from core.settings import Settings
from core.store.chats import Chat, ChatTable
from core.store.database import Database
from core.store.feedback import (
    NONE,
    Feedback,
    FeedbackTable,
    StorageLimits,
    StoredAnswer,
    StoreResult,
)
from core.store.live import HubSource, LiveRevision
from core.store.store import Store
from core.store.tables import HEAD, TABLES
from tests import postgres
from tests.conftest import ROOT, need


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    need("postgres", postgres.is_there(), "no PostgreSQL server is installed here")
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def each(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings of a database, of every kind that there is."""
    if request.param == "sqlite":
        return settings
    url = SecretStr(request.getfixturevalue("server").database())
    return settings.model_copy(update={"database_url": url})


def test_what_is_promoted_is_live_and_can_be_rolled_back(each: Settings) -> None:
    store = Store.open(each)
    assert store.live.all() == {}
    store.live.promote({"a": "1", "b": "1"}, {"a"})
    assert store.live.all() == {"a": LiveRevision("1", BUNDLED), "b": LiveRevision("1", None)}
    store.live.promote({"a": "2"}, {"a"})
    assert store.live.all()["a"] == LiveRevision("2", "1")
    store.live.promote({"a": "2"}, {"a"})
    assert store.live.all()["a"] == LiveRevision("2", "1"), "once more changes nothing"
    assert store.live.roll_back("a") == LiveRevision("1", "2") == store.live.all()["a"]
    assert store.live.roll_back("a") == LiveRevision("2", "1"), "and back"
    store.live.promote({"a": BUNDLED}, {"a"})
    assert store.live.all()["a"] == LiveRevision(BUNDLED, "2")
    for model in ("b", "c"):
        with pytest.raises(StoreError, match=f"Cannot roll back {model}: "):
            store.live.roll_back(model)
    store.close()


def test_a_first_pull_leaves_alone_what_was_made_live(each: Settings) -> None:
    store = Store.open(each)
    store.live.promote({"a": "2"}, {"a", "b"})
    store.live.promote({"a": "1", "b": "1"}, {"a", "b"}, first=True)
    assert store.live.all() == {"a": LiveRevision("2", BUNDLED), "b": LiveRevision("1", BUNDLED)}
    store.close()


def test_it_is_kept_where_revisions_came_from(each: Settings) -> None:
    store = Store.open(each)
    assert store.live.sources() == {}
    store.live.promote({"a": "1"}, set(), origins={"1": HubSource("owner/a", "c" * 40)})
    store.live.promote({"a": "2"}, set(), origins={"2": HubSource("owner/a", "d" * 40)})
    store.live.promote({"a": "2"}, set(), origins={"2": HubSource("owner/b", "e" * 40)})
    assert store.live.sources() == {
        "1": HubSource("owner/a", "c" * 40),
        "2": HubSource("owner/b", "e" * 40),
    }
    assert store.live.all() == {"a": LiveRevision("2", "1")}
    store.close()


def test_another_process_sees_it(each: Settings) -> None:
    store = Store.open(each)
    store.live.promote({"a": "1"}, set())
    other = Store.find(each)
    assert other is not None
    assert other.live.all() == {"a": LiveRevision("1", None)}
    other.live.promote({"a": "2"}, set())
    assert store.live.all()["a"].revision == "2"
    other.close()
    store.close()


def test_finding_makes_nothing(settings: Settings) -> None:
    assert Store.find(settings) is None
    assert not settings.home.exists()


def test_many_write_at_once(each: Settings) -> None:
    Store.open(each).close()

    def write(i: int) -> None:
        store = Store.open(each)
        for round_ in range(10):
            store.live.promote({f"model{i}": str(round_), "shared": f"{i}.{round_}"}, set())
        store.close()

    threads = [threading.Thread(target=write, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store.open(each)
    live = store.live.all()
    store.close()
    assert all(live[f"model{i}"] == LiveRevision("9", "8") for i in range(8))
    assert live["shared"].last_good is not None


def test_many_open_at_once(each: Settings) -> None:
    """Of processes that find no tables one makes them; the others wait for it."""
    code = "from core.settings import Settings; from core.store.store import Store;"
    code += "Store.open(Settings.read()).close()"
    environment = {"TENSIGHT_HOME": str(each.home), "PYTHONPATH": str(ROOT)}
    if each.database_url is not None:
        environment["TENSIGHT_DATABASE_URL"] = each.database_url.get_secret_value()
    runs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4


def test_a_newer_database_is_refused(settings: Settings) -> None:
    Store.open(settings).close()
    with sqlite3.connect(settings.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for use in (Store.open, Store.find):
        with pytest.raises(StoreError, match=r"to a newer version of TenSight.*Update TenSight"):
            use(settings)


def test_a_file_that_is_no_database_is_told(settings: Settings) -> None:
    settings.home.mkdir()
    settings.database_file.write_text("a letter to a friend, long enough to be read as a header")
    with pytest.raises(StoreError, match="is not available: file is not a database"):
        Store.open(settings)


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(StoreError, match="TENSIGHT_DATABASE_URL is not a database URL"):
        Store.open(Settings(database_url=SecretStr("nonsense")))
    with pytest.raises(StoreError, match="is not available"):
        Store.open(Settings(database_url=SecretStr("nonsense://host/name")))


def test_a_password_is_never_shown() -> None:
    url = SecretStr("postgresql+psycopg://user:s3cret@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="is not available") as told:
        Store.open(Settings(database_url=url))
    assert "s3cret" not in str(told.value)


def test_a_driver_that_is_missing_is_told() -> None:
    with pytest.raises(StoreError, match="needs a package that is not installed"):
        Store.open(Settings(database_url=SecretStr("mysql+mysqldb://user@127.0.0.1/none")))


def test_a_home_with_a_percent_sign(tmp_path: Path) -> None:
    Store.open(Settings(home=tmp_path / "100%(x)s")).close()


def test_the_migrations_make_the_tables_of_the_code(each: Settings) -> None:
    settings = each
    Store.open(settings).close()
    config = Config()
    config.set_main_option("script_location", str(ROOT / "core" / "store" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with closing(Database.open(settings)) as database, database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, TABLES) == []


# What the fronts keep.

CHAT, BOT, OTHER = 2**40, 2**33, 7


def answered(person: str | None = None, **scores: float) -> StoredAnswer:
    scores = scores or {"cat": 0.9, "dog": 0.1}
    best = max(scores, key=lambda label: scores[label])
    return StoredAnswer(person, "file", "a", "1", best, "known", scores)


def feedback(truth: str, person: str | None = None, photo: bytes | None = None) -> Feedback:
    return Feedback(
        front="bot",
        model="a",
        revision="1",
        answer="cat",
        verdict="known",
        scores={"cat": 0.9, "dog": 0.1},
        truth=truth,
        person=person,
        photo=photo,
    )


def test_the_inbox(each: Settings) -> None:
    store = Store.open(each)
    rows = [(2**35, CHAT, "{}"), (3, CHAT, '{"a": "\\u0000"}'), (5, None, "x")]
    assert store.inbox.receive(BOT, rows) == {2**35, 3, 5}
    assert store.inbox.receive(BOT, [*rows, (4, CHAT, "y")]) == {2**35, 3, 4, 5}, "none is done yet"
    assert store.inbox.receive(OTHER, rows[:1]) == {2**35}, "each bot has its own"
    assert store.inbox.receive(BOT, []) == set()
    assert [number for number, _ in store.inbox.waiting(BOT)] == [3, 4, 5, 2**35]
    assert store.inbox.waiting(BOT)[0][1] == rows[1][2]
    store.inbox.finish(BOT, [3, 2**35])
    assert [number for number, _ in store.inbox.waiting(BOT)] == [4, 5]
    assert store.inbox.receive(BOT, rows) == {5}, "what is done is not done again"
    store.purge_before(datetime.now(UTC) + timedelta(days=1))
    assert store.inbox.waiting(BOT) == [], "nor is what waits kept for ever"
    store.close()


def test_inbox_counts_attempts_until_they_end(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        store.inbox.receive(BOT, [(1, CHAT, "{}"), (2, CHAT, "{}"), (3, CHAT, "{}")])
        store.inbox.receive(OTHER, [(1, CHAT, "{}")])
        assert store.inbox.unsettled(BOT) == set()
        assert [store.inbox.begin(BOT, [1], 2) for _ in range(4)] == [0, 1, 2, 2]
        assert store.inbox.begin(BOT, [1, 2], 2) == 2, "an album counts as its worst item"
        assert store.inbox.begin(BOT, [3], 2) == 0
        assert store.inbox.unsettled(BOT) == {1, 3}
        assert store.inbox.unsettled(OTHER) == set()
        store.inbox.settle(BOT, [3])
        store.inbox.finish(BOT, [1])
        assert store.inbox.unsettled(BOT) == set()
        assert store.inbox.begin(BOT, [3], 2) == 0


def test_what_people_choose_and_say(each: Settings) -> None:
    store = Store.open(each)
    assert store.chats.get(CHAT) == Chat()
    for model in ("a", "b"):
        store.chats.set(CHAT, Chat(model=model, language="nl", keep_photos=True))
    assert store.chats.get(CHAT) == Chat(model="b", language="nl", keep_photos=True)
    store.feedback.add_answer("k1", answered("me"))
    store.feedback.add_answer("k2", answered("me"))
    assert store.feedback.answer("k1") == answered("me")
    assert store.feedback.answer("k3") is None
    assert store.feedback.judge("k1", feedback("cat", "me", b"\x00photo"))
    assert not store.feedback.judge("k1", feedback("dog", "me")), "said before"
    assert store.feedback.judge("k2", feedback(NONE, "me"))
    store.feedback.add(feedback("cat", "you", b"other"))
    assert store.chats.user_stats("me") == (2, 2, 1)
    (wild,) = store.feedback.stats()
    assert (wild.model, wild.revision, wild.n, wild.right) == ("a", "1", 3, 2)
    assert [photo for _, _, photo in store.feedback.photos()] == [b"\x00photo", b"other"]
    store.chats.forget("me", {CHAT})
    assert store.chats.user_stats("me") == (0, 0, 0)
    assert store.chats.get(CHAT) == Chat()
    assert [photo for _, _, photo in store.feedback.photos()] == [b"other"]
    store.feedback.add_answer("k4", answered(None))
    store.purge_before(datetime.now(UTC) + timedelta(days=1))
    assert store.feedback.answer("k4") is None
    store.close()


KEPT, WITHOUT_PHOTO, REFUSED = (
    StoreResult(True, True),
    StoreResult(True, False),
    StoreResult(False, False),
)


def test_no_more_photos_are_kept_than_there_is_room_for(each: Settings) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, StorageLimits(photos=2))
        table.add_answer("k1", answered())
        assert table.add(feedback("cat", photo=b"1")) == KEPT
        assert table.add(feedback("cat")) == WITHOUT_PHOTO, "there is none"
        assert table.judge("k1", feedback("cat", photo=b"2")) == KEPT
        assert table.add(feedback("cat", photo=b"3")) == WITHOUT_PHOTO
        assert [photo for _, _, photo in table.photos()] == [b"1", b"2"]
        assert table.stats()[0].n == 4, "what is said counts"


@pytest.mark.parametrize(
    ("bounds", "mine", "yours"),
    [
        (StorageLimits(person_photos=1), WITHOUT_PHOTO, KEPT),
        (StorageLimits(person_photo_bytes=15), WITHOUT_PHOTO, KEPT),
        (StorageLimits(photo_bytes=15), WITHOUT_PHOTO, WITHOUT_PHOTO),
        (StorageLimits(person_feedback=1), REFUSED, KEPT),
        (StorageLimits(feedback=1), REFUSED, REFUSED),
    ],
)
def test_feedback_is_bounded_for_each_person_and_in_all(
    each: Settings, bounds: StorageLimits, mine: StoreResult, yours: StoreResult
) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, bounds)
        assert table.add(feedback("cat", "me", b"0123456789")) == KEPT
        assert table.add(feedback("cat", "me", b"0123456789")) == mine
        assert table.add(feedback("cat", "you", b"0123456789")) == yours
        ChatTable(database).forget("me", set())
        assert table.add(feedback("cat", "me", b"0123456789")) in (KEPT, yours), "room again"


def test_answers_are_bounded_for_each_person_and_in_all(each: Settings) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, StorageLimits(answers=3, person_answers=2))

        def stored() -> list[str]:
            return [key for key in ("a", "b", "c", "d", "e") if table.answer(key)]

        for key in ("a", "b", "c"):
            table.add_answer(key, answered("me"))
        assert stored() == ["b", "c"], "the oldest of the person gives way"
        for key in ("d", "e"):
            table.add_answer(key, answered(None))
        assert stored() == ["c", "d", "e"], "the oldest of all gives way"


def test_only_the_most_probable_scores_are_stored(each: Settings) -> None:
    scores = {f"label{i}": i / 1000 for i in range(1000)}
    with closing(Store.open(each)) as store:
        store.feedback.add_answer("k", answered("me", **scores))
        stored = store.feedback.answer("k")
    assert stored is not None
    assert len(stored.scores) == 100
    assert min(stored.scores.values()) == 0.9


def test_what_operators_do(each: Settings) -> None:
    store = Store.open(each)
    assert not store.flags.get("maintenance")
    for on in (True, False, True):
        store.flags.set("maintenance", on=on)
        assert store.flags.get("maintenance") is on
    for act in ("pull", "promote"):
        store.audit.record("me", act, "done")
    assert [act.act for act in store.audit.recent(9)] == ["promote", "pull"]
    assert [act.act for act in store.audit.recent(1)] == ["promote"]
    assert store.audit.recent(1)[0].at.tzinfo is not None
    store.close()


def test_what_a_process_had_begun_is_ended_by_the_next_one_of_its_bot(each: Settings) -> None:
    with closing(Store.open(each)) as gone:
        for act in ("pull v1", "promote a 1"):
            gone.audit.begin(BOT, "me", act)
        gone.audit.finish(gone.audit.begin(BOT, "me", "rollback a"), "done")
        theirs = gone.audit.begin(OTHER, "you", "pull v1")  # goes on
    with closing(Store.open(each)) as store:
        ended = store.audit.finish_all(BOT, lambda act: f"nobody saw {act} end")
        assert [(act.operator, act.act) for act in ended] == [
            ("me", "pull v1"),
            ("me", "promote a 1"),
        ]
        assert store.audit.finish_all(BOT, str) == [], "once"
        store.audit.finish(theirs, "done")
        assert store.audit.finish_all(OTHER, str) == []
        assert [(act.act, act.outcome) for act in store.audit.recent(4)] == [
            ("pull v1", "done"),
            ("promote a 1", "nobody saw promote a 1 end"),
            ("pull v1", "nobody saw pull v1 end"),
            ("pull v1", "begun"),
        ]
