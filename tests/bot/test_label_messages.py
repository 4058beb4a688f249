"""Photos to label in operators' chats, which are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.timings import Timings
from core.store.feedback import Feedback
from core.store.tables import ANSWERS, LABEL_MESSAGES
from tests.support.labelling import (
    OPERATOR,
    USER,
    consent,
    message_number,
    operated_bot,
    send,
    show,
)
from tests.support.rollouts import MODEL
from tests.support.running_bot import RunningBot, ask, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import BOT_ID, TelegramServer

T = texts()
SOON = Timings(label_check_s=0.05, label_settled_s=0.0)


def deleted(telegram: TelegramServer) -> list[int]:
    """Return the messages that were deleted from the operator's chat."""
    calls = telegram.sent(OPERATOR, "deleteMessage")
    return [int(each.data["message_id"]) for each in calls]


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    with operated_bot(telegram, tmp_path) as bot:
        yield bot


def test_photo_is_deleted_when_another_is_asked_for(operated: RunningBot, content: bytes) -> None:
    consent(operated)
    send(operated, content)
    first = show(operated)
    operated.telegram.text(OPERATOR, "/label")
    gone, second = operated.telegram.wait_for(3, OPERATOR)[1:]
    assert (gone.method, message_number(gone), second.method) == (
        "deleteMessage",
        message_number(first),
        "sendPhoto",
    )


@pytest.mark.parametrize("way", ["withdrawn", "forgotten", "judged", "day"])
def test_photo_is_deleted_from_the_chat_once_it_waits_no_more(
    telegram: TelegramServer, tmp_path: Path, content: bytes, way: str
) -> None:
    with operated_bot(telegram, tmp_path, timings=SOON) as bot:
        consent(bot)
        send(bot, content)
        (queued,) = bot.store.labels.waiting()
        message = show(bot)
        if way == "withdrawn":
            consent(bot, button="let_label_on")
        elif way == "forgotten":
            ask(telegram, USER, lambda: telegram.text(USER, "/forget"))
        elif way == "judged":
            said = Feedback("bot", MODEL, "0" * 12, "cat", "known", {"cat": 1.0}, "cat")
            bot.store.feedback.judge(queued.key, said)
        else:
            with bot.store.database.write() as connection:
                long_ago = datetime.now(UTC) - timedelta(hours=25)
                connection.execute(sa.update(LABEL_MESSAGES).values(sent_at=long_ago))
        gone, told = telegram.wait_for(3, OPERATOR)[1:]
        assert (gone.method, message_number(gone)) == ("deleteMessage", message_number(message))
        left = T["label_ended"].format(n=1) if way == "day" else T["label_none"]
        assert told.text == left
        assert bot.store.label_messages.of_chat(BOT_ID, OPERATOR) == []


def test_photo_is_deleted_by_the_next_process(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with operated_bot(telegram, tmp_path) as bot:
        consent(bot)
        send(bot, content)
        message = show(bot)
        with bot.store.database.write() as connection:
            connection.execute(sa.update(ANSWERS).values(may_label=False))
        settings = bot.settings
    assert deleted(telegram) == []
    telegram.faults.failing["deleteMessage"] = [500]  # so it is tried again
    with running_bot(
        telegram,
        settings.home,
        operators=(OPERATOR,),
        models=settings.models,
        model=MODEL,
        threads=1,
        timings=SOON,
    ):
        telegram.wait_for(3, OPERATOR)
    assert deleted(telegram) == [message_number(message)] * 2


def test_message_that_cannot_be_deleted_is_forgotten(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with operated_bot(telegram, tmp_path, timings=SOON) as bot:
        consent(bot)
        send(bot, content)
        show(bot)
        telegram.faults.reasons["deleteMessage"] = ["Bad Request: message can't be deleted"]
        consent(bot, button="let_label_on")
        wait_for(lambda: bot.store.label_messages.of_chat(BOT_ID, OPERATOR) == [])
    assert len(telegram.sent(OPERATOR)) == 1, "nothing is told about it"
