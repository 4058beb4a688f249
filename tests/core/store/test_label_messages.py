"""The table of messages that show operators a photo to label."""

from __future__ import annotations

from contextlib import closing

from core.settings import Settings
from core.store.feedback import StoredAnswer
from core.store.label_messages import LabelMessage
from core.store.store import Store

BOT, OTHER_BOT = 7, 8
FIRST, SECOND = LabelMessage(501, 1), LabelMessage(502, 1)


def add_answer(store: Store, key: str) -> None:
    scores = {"cat": 0.6, "dog": 0.4}
    answer = StoredAnswer("me", key, "a", "1", "cat", "known", scores, may_label=True)
    store.feedback.add_answer(key, answer)


def test_message_is_outdated_once_its_photo_has_left_the_queue(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        messages = store.label_messages
        for key in ("x", "y", "z"):
            add_answer(store, key)
        messages.show(BOT, FIRST, "x")
        messages.show(BOT, SECOND, "y")
        assert messages.outdated(BOT, 0.0) == []
        store.labels.skip("x")
        assert messages.outdated(BOT, 60.0) == [], "it is just being replaced"
        assert messages.outdated(BOT, 0.0) == [FIRST]
        assert messages.outdated(OTHER_BOT, 0.0) == []
        messages.show(BOT, FIRST, "z")
        assert messages.outdated(BOT, 0.0) == []
        messages.show(BOT, FIRST, None)
        assert messages.outdated(BOT, 0.0) == [FIRST]
        messages.remove(BOT, FIRST)
        assert messages.outdated(BOT, 0.0) == []
        assert messages.of_chat(BOT, FIRST.chat) == []
        assert messages.of_chat(BOT, SECOND.chat) == [SECOND]
