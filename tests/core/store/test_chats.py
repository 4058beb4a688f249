from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import (
    NONE,
)
from core.store.store import Store
from core.store.tables import TABLES
from tests.support.feedback import feedback, stored_answer

CHAT = 2**40


def test_chat_settings_and_user_data_are_stored_and_deleted(each: Settings) -> None:
    store = Store.open(each)
    assert store.chats.get(CHAT) == Chat()
    for model in ("a", "b"):
        store.chats.set(CHAT, Chat(model=model, language="nl", keep_photos=True))
    assert store.chats.get(CHAT) == Chat(model="b", language="nl", keep_photos=True)
    store.feedback.add_answer("k1", stored_answer("me"))
    store.feedback.add_answer("k2", stored_answer("me"))
    assert store.feedback.answer("k1") == stored_answer("me")
    assert store.feedback.answer("k3") is None
    assert store.feedback.judge("k1", feedback("cat", "me", b"\x00photo"))
    assert not store.feedback.judge("k1", feedback("dog", "me")), (
        "feedback is accepted once for each answer"
    )
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
    store.feedback.add_answer("k4", stored_answer(None))
    store.purge_before(datetime.now(UTC) + timedelta(days=1))
    assert store.feedback.answer("k4") is None
    store.close()


def made_up(column: sa.Column[Any]) -> object:
    """Return a value for a column."""
    if isinstance(column.type, sa.DateTime):
        return datetime.now(UTC)
    if isinstance(column.type, sa.JSON):
        return {}
    if isinstance(column.type, sa.LargeBinary):
        return b""
    return {bool: False, int: 1, float: 1.0}.get(column.type.python_type, "x")


def test_no_table_but_the_audit_log_names_a_forgotten_person(each: Settings) -> None:
    of_people = ("person", "operator", "teacher")
    named = [
        column
        for table in TABLES.tables.values()
        for column in table.c
        if column.name in of_people and table.name != "audit"
    ]
    assert len(named) >= 7
    with closing(Store.open(each)) as store:
        with store.database.write() as connection:
            for column in named:
                values = {c.name: made_up(c) for c in column.table.c if c.name != "id"}
                row = values | {column.name: "me"}
                connection.execute(sa.insert(column.table).values(row))
        store.chats.forget("me", set())
        with store.database.read() as connection:
            for column in named:
                mine = sa.select(sa.func.count()).where(column == "me")
                assert connection.execute(mine).scalar() == 0, column
