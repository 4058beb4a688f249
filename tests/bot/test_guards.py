"""Rate limits, maintenance and error replies around the handlers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bot.photo_rate import PhotoRateLimiter
from bot.timings import Backoff, Timings
from core import locale
from core.errors import BusyError
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import GROUP, MENTION, RunningBot, ask, press, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

TOO_MANY = texts()["too_many"].partition("{")[0]


def test_chat_over_its_rate_limit_is_warned_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path, chat_photos_per_minute=2):
        for _ in range(6):
            telegram.photo(1, content)
        telegram.text(1, "/whoami")
        first, second, warning, after = telegram.wait_for(4, 1)
    assert first.text.startswith("A ship")
    assert second.text.startswith("A ship")
    assert warning.text.startswith(TOO_MANY)
    assert after.text == texts()["whoami"].format(id=1)


def test_explanation_counts_against_the_photos_a_minute(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path) as bot:
        now = time.time()
        bot.state.photo_rate = PhotoRateLimiter(2, clock=lambda: now)
        first = ask(telegram, 1, lambda: telegram.photo(1, content))
        explained, _ = press(telegram, 1, first, texts()["why"])
        assert explained.method == "editMessageMedia"
        refused, notice = press(telegram, 1, explained, texts()["why"])
        assert refused is explained
        assert notice.text.startswith("You have sent too many photos.")
        warning = ask(telegram, 1, lambda: telegram.photo(1, content))
        assert warning.text.startswith(TOO_MANY)
        shown, _ = press(telegram, 1, explained, texts()["right"])
        assert shown.method == "editMessageReplyMarkup", "feedback is no photo"


def test_group_over_its_rate_limit_is_not_warned(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path, chat_photos_per_minute=2) as bot:
        for _ in range(4):
            telegram.photo(GROUP, content, **MENTION)
        telegram.wait_for(2, GROUP)
        wait_for(lambda: bot.state.inbox.waiting == 0 and len(telegram.sent(GROUP)) >= 2)
        bot.wait_until_idle()
        assert [call.text[:6] for call in telegram.sent(GROUP)] == ["A ship"] * 2


def test_group_gets_ten_command_replies_a_minute(telegram: TelegramServer, tmp_path: Path) -> None:
    with running_bot(telegram, tmp_path) as bot:
        for _ in range(15):
            telegram.text(GROUP, "/help@tensight_bot", user=1)
        telegram.wait_for(10, GROUP)
        # A later update of the group is answered after all of them.
        ask(telegram, 2, lambda: telegram.text(2, "/whoami"))
        bot.wait_until_idle()
    assert len(telegram.sent(GROUP)) == 10


def test_undelivered_rate_limit_warning_is_repeated(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    timings = Timings(retry=Backoff(0.2, 0.2))
    with running_bot(telegram, tmp_path, chat_photos_per_minute=1, timings=timings):
        now = int(time.time())  # Both photos are sent in one minute, even at its end.
        ask(telegram, 1, lambda: telegram.photo(1, content, date=now))
        telegram.faults.failing["sendMessage"] = [502]
        telegram.photo(1, content, date=now)
        attempts = telegram.wait_for(3, 1)[1:]  # The server records refused attempts too.
    assert all(call.text.startswith(TOO_MANY) for call in attempts)


def test_rate_limit_counts_photos_by_the_date_of_their_message(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    now = int(time.time())
    with running_bot(telegram, tmp_path, chat_photos_per_minute=2):
        for minutes in (3, 3, 2, 2, 1):
            telegram.photo(1, content, date=now - 60 * minutes)
        assert all(reply.text.startswith("A ship") for reply in telegram.wait_for(5, 1))
        for _ in range(2):
            telegram.photo(1, content, date=now - 60)
        assert telegram.wait_for(7, 1)[-1].text.startswith(TOO_MANY)


def test_busy_predictor_is_explained_with_a_time_to_retry(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    predictor = ControlledPredictor(error=BusyError(4))
    with running_bot(telegram, tmp_path, predictor=predictor):
        reply = ask(telegram, 1, lambda: telegram.photo(1, content))
    predictor.close()
    assert reply.text == locale.format_error(BusyError(4))


def test_maintenance_refuses_photos_of_all_but_operators(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path, operators=(1,)) as bot:
        bot.state.set_maintenance(on=True)
        reply = ask(telegram, 2, lambda: telegram.photo(2, content))
        assert reply.text == texts()["maintenance"]
        reply = ask(telegram, 1, lambda: telegram.photo(1, content))
        assert reply.text.startswith("A ship")


def test_unavailable_predictor_is_explained_once_and_answers_later(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    timings = Timings(retry=Backoff(0.05, 0.05))
    with running_bot(telegram, tmp_path, predictor=offline, timings=timings):
        telegram.photo(1, content)
        (notice,) = telegram.wait_for(1, 1)
        assert notice.text == texts()["unavailable"]
        wait_for(lambda: offline.attempts > 4)
        assert len(telegram.sent(1)) == 1
        offline.error = None
        assert telegram.wait_for(2, 1)[-1].text.startswith("A ship")


def test_shared_bot_answers_in_groups_only_to_commands_that_name_it(
    bot: RunningBot, group: int
) -> None:
    telegram = bot.telegram
    options: dict[str, Any] = {"user": 1}
    telegram.text(group, "/help", **options)
    reply = ask(telegram, group, lambda: telegram.text(group, "/whoami@tensight_bot", **options))
    assert reply.text == texts()["whoami"].format(id=1)
    assert len(telegram.sent(group)) == 1
