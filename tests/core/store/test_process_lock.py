from __future__ import annotations

from contextlib import closing

import sqlalchemy as sa
from pydantic import SecretStr

from core.settings import Settings
from core.store.database import Database
from core.store.process_lock import ProcessLock
from tests.support.postgres import Postgres


def test_one_process_at_a_time_holds_a_lock(each: Settings) -> None:
    with closing(Database.open(each)) as one, closing(Database.open(each)) as other:
        first, second = ProcessLock(one, "bot-1"), ProcessLock(other, "bot-1")
        assert first.acquire()
        assert not second.acquire()
        assert (first.is_held(), second.is_held()) == (True, False)
        third = ProcessLock(other, "bot-2")
        assert third.acquire(), "it is the lock of another bot"
        third.release()
        first.release()
        assert not first.is_held()
        assert second.acquire()
        second.release()


def test_lock_is_lost_with_its_connection(settings: Settings, server: Postgres) -> None:
    shared = settings.model_copy(update={"database_url": SecretStr(server.database())})
    with closing(Database.open(shared)) as one, closing(Database.open(shared)) as other:
        first, second = ProcessLock(one, "polling-1"), ProcessLock(other, "polling-1")
        assert first.acquire()
        with other.write() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                )
            )
        assert not first.is_held()
        assert second.acquire()
        second.release()
