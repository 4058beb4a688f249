from __future__ import annotations

import gc
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from core.errors import StoreError
from core.settings import Settings
from core.store.database import Database
from core.store.store import Store
from core.store.tables import HEAD, TABLES
from tests.conftest import ROOT
from tests.support.forks import Fork


def test_find_creates_nothing(settings: Settings) -> None:
    assert Store.find(settings) is None
    assert not settings.home.exists()


def test_concurrent_processes_create_the_tables_once(each: Settings) -> None:
    """One process creates the tables while the others wait."""
    code = "from core.settings import Settings; from core.store.store import Store;"
    code += "Store.open(Settings.read()).close()"
    environment = {"TENSIGHT_HOME": str(each.home), "PYTHONPATH": str(ROOT)}
    if each.database_url is not None:
        environment["TENSIGHT_DATABASE_URL"] = each.database_url.get_secret_value()
    runs = [Fork(["-c", code], environment) for _ in range(4)]
    assert [run.wait(300) for run in runs] == [0] * 4


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:sekret@host:badport/x",
        "postgresql://user:p@sekret:word@host/x",
        "postgresql://user:p@s/sekret@host/x",
        "postgresql://user:sekret@[::1/x",
        "user:sekret@host/x",
        "sekret",
        "://",
    ],
)
def test_invalid_url_is_reported_without_its_password(tmp_path: Path, url: str) -> None:
    settings = Settings(home=tmp_path, database_url=SecretStr(url))
    for use in (Store.open, Store.find):
        with pytest.raises(StoreError, match="TENSIGHT_DATABASE_URL is not a database") as told:
            use(settings)
        said = "".join(traceback.format_exception(told.value))
        assert "sekret" not in said
        assert "badport" not in said


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://user:sekret@host/x?password=sekret",
        "postgresql://user:sekret@127.0.0.1:1/x",
        "postgresql://user:sek ret@127.0.0.1:1/x?password=sekret",
        "postgresql://127.0.0.1:1/x?password=sekret&user=y",
        "postgresql://user:sekret@127.0.0.1:1/x?unknown_option=sekret",
        "sqlite://user:sekret@host/x",
    ],
)
def test_unavailable_database_is_reported_without_its_password(tmp_path: Path, url: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    settings = Settings(home=tmp_path, database_url=SecretStr(url))
    with pytest.raises(StoreError, match=r"The database .* is not available") as told:
        Store.open(settings)
    assert "sek" not in str(told.value)
    assert "ret@" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_newer_schema_is_rejected(each: Settings) -> None:
    with closing(Database.open(each)) as database, database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (Store.open, Store.find):
        with pytest.raises(StoreError, match=r"to a newer version of TenSight.*Upgrade TenSight"):
            use(each)
    # A connection left open would warn when it is collected, which fails the test.
    gc.collect()


def test_connection_in_use_is_closed_at_the_end_of_its_transaction(each: Settings) -> None:
    database = Database.open(each)
    with database.read() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        database.close()
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    with pytest.raises(database.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.cursor()


def test_connection_that_is_being_returned_is_closed(
    each: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(each)
    pool = database.engine.pool
    put_back = pool._do_return_conn

    def close_and_put_back(record: Any) -> None:
        database.close()
        put_back(record)

    with database.read() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        monkeypatch.setattr(pool, "_do_return_conn", close_and_put_back)
    with pytest.raises(database.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.cursor()


def test_non_database_file_is_reported(settings: Settings) -> None:
    settings.home.mkdir()
    settings.database_file.write_text("a letter to a friend, long enough to be read as a header")
    with pytest.raises(StoreError, match="is not available: file is not a database"):
        Store.open(settings)


def test_invalid_database_url_is_reported() -> None:
    with pytest.raises(StoreError, match="TENSIGHT_DATABASE_URL is not a database URL"):
        Store.open(Settings(database_url=SecretStr("nonsense")))
    with pytest.raises(StoreError, match="is not available"):
        Store.open(Settings(database_url=SecretStr("nonsense://host/name")))


@pytest.mark.parametrize("info", ["me@server:sekret", "me:sek@ret"])
def test_user_or_password_with_an_at_sign_is_explained(info: str) -> None:
    url = SecretStr(f"postgresql+psycopg://{info}@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="a user or password with @") as caught:
        Store.open(Settings(database_url=url))
    assert "%40" in str(caught.value)
    assert "sek" not in str(caught.value)
    encoded = SecretStr(f"postgresql+psycopg://{info.replace('@', '%40')}@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="is not available"):
        Store.open(Settings(database_url=encoded))


def test_error_hides_the_password() -> None:
    url = SecretStr("postgresql+psycopg://user:s3cret@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="is not available") as caught:
        Store.open(Settings(database_url=url))
    assert "s3cret" not in str(caught.value)


def test_missing_driver_is_reported() -> None:
    with pytest.raises(StoreError, match="needs a package that is not installed"):
        Store.open(Settings(database_url=SecretStr("mysql+mysqldb://user@127.0.0.1/none")))


def test_home_may_contain_a_percent_sign(tmp_path: Path) -> None:
    Store.open(Settings(home=tmp_path / "100%(x)s")).close()


def test_migrations_create_the_tables_of_the_code(each: Settings) -> None:
    settings = each
    Store.open(settings).close()
    config = Config()
    config.set_main_option("script_location", str(ROOT / "core" / "store" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with closing(Database.open(settings)) as database, database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, TABLES) == []
