"""The database: which revision is live, in SQLite."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from core import store as module
from core.errors import StoreError
from core.revisions import BUNDLED
from core.settings import Settings
from core.store import HEAD, Live, Store
from tests.conftest import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_what_is_promoted_is_live_and_can_be_rolled_back(settings: Settings) -> None:
    store = Store.open(settings)
    assert store.live() == {}
    store.promote({"a": "1", "b": "1"}, {"a"})
    assert store.live() == {"a": Live("1", BUNDLED), "b": Live("1", None)}
    store.promote({"a": "2"}, {"a"})
    assert store.live()["a"] == Live("2", "1")
    store.promote({"a": "2"}, {"a"})
    assert store.live()["a"] == Live("2", "1"), "once more changes nothing"
    assert store.roll_back("a") == Live("1", "2") == store.live()["a"]
    assert store.roll_back("a") == Live("2", "1"), "and back"
    store.promote({"a": BUNDLED}, {"a"})
    assert store.live()["a"] == Live(BUNDLED, "2")
    for model in ("b", "c"):
        with pytest.raises(StoreError, match=f"nothing to roll {model} back to"):
            store.roll_back(model)
    store.close()


def test_a_first_pull_leaves_alone_what_was_made_live(settings: Settings) -> None:
    store = Store.open(settings)
    store.promote({"a": "2"}, {"a", "b"})
    store.promote({"a": "1", "b": "1"}, {"a", "b"}, first=True)
    assert store.live() == {"a": Live("2", BUNDLED), "b": Live("1", BUNDLED)}
    store.close()


def test_another_process_sees_it(settings: Settings) -> None:
    store = Store.open(settings)
    store.promote({"a": "1"}, set())
    other = Store.find(settings)
    assert other is not None
    assert other.live() == {"a": Live("1", None)}
    other.promote({"a": "2"}, set())
    assert store.live()["a"].revision == "2"
    other.close()
    store.close()


def test_finding_makes_nothing(settings: Settings) -> None:
    assert Store.find(settings) is None
    assert not settings.home.exists()


def test_many_write_at_once(settings: Settings) -> None:
    Store.open(settings).close()

    def write(i: int) -> None:
        store = Store.open(settings)
        for round_ in range(10):
            store.promote({f"model{i}": str(round_), "shared": f"{i}.{round_}"}, set())
        store.close()

    threads = [threading.Thread(target=write, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store.open(settings)
    live = store.live()
    store.close()
    assert all(live[f"model{i}"] == Live("9", "8") for i in range(8))
    assert live["shared"].last_good is not None


def test_many_open_at_once(settings: Settings) -> None:
    """Of processes that find no tables one makes them; the others wait for it."""
    code = "from core.settings import Settings; from core.store import Store;"
    code += "Store.open(Settings.read()).close()"
    environment = {"TENSIGHT_HOME": str(settings.home), "PYTHONPATH": str(ROOT)}
    runs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4


def test_a_newer_database_is_refused(settings: Settings) -> None:
    Store.open(settings).close()
    with sqlite3.connect(settings.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for use in (Store.open, Store.find):
        with pytest.raises(StoreError, match=r"of a newer TenSight.*Update TenSight"):
            use(settings)


def test_a_file_that_is_no_database_is_told(settings: Settings) -> None:
    settings.home.mkdir()
    settings.database_file.write_text("a letter to a friend, long enough to be read as a header")
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        Store.open(settings)


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(StoreError, match="TENSIGHT_DATABASE_URL is no address"):
        Store.open(Settings(database_url=SecretStr("nonsense")))
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(Settings(database_url=SecretStr("nonsense://host/name")))


def test_a_password_is_never_shown() -> None:
    url = SecretStr("postgresql+psycopg://user:s3cret@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="cannot be used") as told:
        Store.open(Settings(database_url=url))
    assert "s3cret" not in str(told.value)


def test_a_driver_that_is_missing_is_told() -> None:
    with pytest.raises(StoreError, match="needs a package that is not installed here"):
        Store.open(Settings(database_url=SecretStr("mysql+mysqldb://user@127.0.0.1/none")))


def test_a_home_with_a_percent_sign(tmp_path: Path) -> None:
    Store.open(Settings(home=tmp_path / "100%(x)s")).close()


def test_the_migrations_make_the_tables_of_the_code(settings: Settings) -> None:
    Store.open(settings).close()
    config = Config()
    config.set_main_option("script_location", str(ROOT / "core" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    engine = sa.create_engine(f"sqlite:///{settings.database_file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, module._TABLES) == []
    engine.dispose()
