"""Fixtures of the tests of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.settings import Settings
from tests.conftest import need
from tests.support import postgres


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with a temporary home."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    """Run a PostgreSQL server; skip the test if none is installed."""
    need("postgres", postgres.is_there(), "no PostgreSQL server is installed here")
    with postgres.running() as server:
        yield server


@pytest.fixture
def shared(server: postgres.Postgres, settings: Settings) -> Settings:
    """Return settings with a PostgreSQL database."""
    return settings.model_copy(update={"database_url": SecretStr(server.database())})


@pytest.fixture(params=["sqlite", "postgresql"])
def each(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Return settings with a database, SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        return settings
    shared: Settings = request.getfixturevalue("shared")
    return shared
