"""Deleted data is erased from the database files, which are private."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import Feedback, StoredAnswer
from core.store.feedback_export import export_photos
from core.store.store import Store
from tests.conftest import ROOT

CHAT, BOT = 5, 7
SECRETS = [b"PHOTO-OF-A-PERSON", b"person-hash", b"file-of-a-person", b"words of a person"]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set a umask that restricts no permissions."""
    before = os.umask(0)
    yield
    os.umask(before)


def left(settings: Settings) -> list[str]:
    """List the secrets that a file of the database contains."""
    file = settings.database_file
    return [
        f"{secret.decode()} in {each.name}"
        for each in file.parent.glob(f"{file.name}*")
        for secret in SECRETS
        if secret in each.read_bytes()
    ]


def fill(store: Store, n: int = 40) -> None:
    """Store photos, answers and updates of a user and of others."""
    for i in range(n):
        for person in ("person-hash", f"other-{i}"):
            mine = person == "person-hash"
            photo = (SECRETS[0] if mine else b"other photo") * 900
            key, file = f"{person[:6]}{i}", "file-of-a-person" if mine else "file"
            scores = {"cat": 0.9, "dog": 0.1}
            store.feedback.add_answer(
                key, StoredAnswer(person, file, "a", "1", "cat", "known", scores)
            )
            said = Feedback("bot", "a", "1", "cat", "known", scores, "cat", person, photo)
            assert store.feedback.judge(key, said)
            text = "words of a person" if mine else "words"
            store.inbox.receive(BOT, [(2 * i + mine, CHAT, f'{{"text": "{text * 40}"}}')])
    store.chats.set(CHAT, Chat(model="a"))


def test_deleted_user_leaves_no_bytes_in_database_and_log(settings: Settings) -> None:
    with closing(Store.open(settings)) as store, closing(Store.open(settings)) as other:
        fill(store)
        assert other.feedback.stats(), "the database is not open in the other process"
        assert left(settings), "the secrets were not stored"
        store.inbox.finish(BOT, range(81))
        store.chats.forget("person-hash", {CHAT})
        assert left(settings) == []
        assert other.feedback.stats()[0].n == 40, "feedback of other users was deleted"
    assert left(settings) == []


def test_purged_rows_leave_no_bytes(settings: Settings) -> None:
    with closing(Store.open(settings)) as store, closing(Store.open(settings)) as other:
        other.feedback.stats()
        store.inbox.receive(BOT, [(1, CHAT, "words of a person" * 40)])
        scores = {"cat": 1.0, "dog": 0.0}
        answer = StoredAnswer("person-hash", "file-of-a-person", "a", "1", "cat", "known", scores)
        store.feedback.add_answer("k", answer)
        assert left(settings)
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert left(settings) == []


def test_older_database_is_scrubbed_and_made_private_once(settings: Settings) -> None:
    settings.home.mkdir(mode=0o755)
    file = settings.database_file
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((ROOT / "tests/data/before/database.sql").read_text())
        connection.execute("PRAGMA secure_delete=OFF")  # some systems have it on
        rows = [(SECRETS[0] * 900,)] * 20
        insert = (
            "INSERT INTO feedback (at, front, model, revision, answer, verdict, scores, truth, "
        )
        values = "photo) VALUES ('2026-01-01', 'bot', 'a', '1', 'cat', 'known', '{}', 'cat', ?)"
        connection.executemany(insert + values, rows)
        connection.execute("DELETE FROM feedback WHERE answer = 'cat' AND model = 'a'")
        connection.commit()
    file.chmod(0o644)
    assert left(settings), "free pages should contain the secrets"
    with closing(Store.open(settings)) as store:
        assert left(settings) == []
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert store.feedback.stats(), "other rows were deleted"
    file.chmod(0o640)
    Store.open(settings).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640, "an existing mode was changed"


@pytest.mark.usefixtures("open_umask")
def test_home_and_database_are_private(settings: Settings) -> None:
    with closing(Store.open(settings)) as store:
        fill(store, 2)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in settings.home.iterdir()}
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert "tensight.db-wal" in modes
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.usefixtures("open_umask")
def test_database_of_the_settings_is_private(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "own.db"
    url = SecretStr(f"sqlite:///{file}")
    with closing(Store.open(Settings(database_url=url))):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("open_umask")
def test_exported_photos_are_private(settings: Settings, tmp_path: Path) -> None:
    with closing(Store.open(settings)) as store:
        fill(store, 1)
    folder = tmp_path / "photos"
    export_photos(settings, folder, ["cat"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_existing_home_keeps_its_mode(settings: Settings) -> None:
    settings.home.mkdir(mode=0o750)
    settings.home.chmod(0o750)
    Store.open(settings).close()
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o750
