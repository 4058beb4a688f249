"""Reports of failed updates to operators and senders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.timings import Backoff, Timings
from core import locale
from core.errors import BundleError, TenSightError
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    RunningBot,
    ask,
    photo_message,
    press,
    running_bot,
    texts,
)
from tests.support.telegram_server import TelegramServer

OPERATOR, OTHER, USER = 501, 502, 503
APOLOGY = locale.format_error(TenSightError())


@dataclass
class Failing:
    """A bot whose predictor fails with an unexpected error."""

    bot: RunningBot
    predictor: ControlledPredictor


@pytest.fixture
def failing(telegram: TelegramServer, tmp_path: Path) -> Iterator[Failing]:
    predictor = ControlledPredictor(error=ZeroDivisionError("what somebody wrote"))
    timings = Timings(retry=Backoff(0.2, 0.2))
    with running_bot(
        telegram, tmp_path, operators=(OPERATOR, OTHER), predictor=predictor, timings=timings
    ) as bot:
        yield Failing(bot, predictor)
    predictor.close()


def test_unexpected_error_is_reported_once_without_its_message(
    failing: Failing, content: bytes
) -> None:
    telegram = failing.bot.telegram
    users = range(USER, USER + 20)
    for user in users:
        telegram.photo(user, content)
    for user in users:
        (apology,) = telegram.wait_for(1, user)
        assert apology.text == APOLOGY
    failing.bot.wait_until_idle()
    ask(telegram, USER, lambda: telegram.text(USER, "/whoami"))
    for operator in (OPERATOR, OTHER):
        (alarm,) = telegram.wait_for(1, operator)
        assert alarm.text.startswith("⚠ ZeroDivisionError")
        assert "predictors.py:" in alarm.text
        assert "somebody" not in alarm.text
        assert alarm.files == {}


def test_apology_is_sent_once_telegram_accepts_it(failing: Failing, content: bytes) -> None:
    telegram = failing.bot.telegram
    # The apology and both alarms fail at first; the server records them too.
    telegram.faults.failing["sendMessage"] = [502, 502, 502]
    telegram.photo(USER, content)
    telegram.wait_for(2, USER)
    failing.bot.wait_until_idle()
    assert [call.text for call in telegram.sent(USER)] == [APOLOGY] * 2


def test_damaged_model_is_reported(failing: Failing, content: bytes) -> None:
    telegram = failing.bot.telegram
    failing.predictor.error = BundleError("config.json is damaged")
    reply = ask(telegram, USER, lambda: telegram.photo(USER, content))
    assert reply.text == locale.format_error(failing.predictor.error)
    (alarm,) = telegram.wait_for(1, OPERATOR)
    assert alarm.text.startswith("⚠ BundleError")


def test_error_behind_a_button_is_reported_and_counted(failing: Failing, content: bytes) -> None:
    telegram = failing.bot.telegram
    error, failing.predictor.error = failing.predictor.error, None
    reply = ask(telegram, USER, lambda: telegram.photo(USER, content))
    failing.predictor.error = error
    _, notice = press(telegram, USER, reply, texts()["why"])
    assert notice.text == APOLOGY
    telegram.wait_for(1, OTHER)
    failing.bot.wait_until_idle()
    assert failing.bot.state.hour.summary().errors == 1


def test_each_refusal_of_telegram_raises_an_alarm_of_its_own(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.reasons["sendPhoto"] = [f"Bad Request: {n}" for n in ("one", "two 1", "two 2")]
    with running_bot(telegram, tmp_path, operators=(OPERATOR,)) as bot:

        def explain() -> None:
            message = photo_message(telegram, content, USER)
            telegram.text(USER, "/explain", reply_to_message=message)

        for n in (1, 2):
            explain()
            alarms = telegram.wait_for(n, OPERATOR)
        assert len({call.text for call in alarms}) == 2, "each has its own reference"
        explain()
        bot.wait_until_idle()
        ask(telegram, OTHER, lambda: telegram.text(OTHER, "/whoami"))
        assert len(telegram.sent(OPERATOR)) == 2, "only the numbers differ"
        reply = ask(telegram, OTHER, lambda: telegram.photo(OTHER, content))
        telegram.faults.reasons["editMessageReplyMarkup"] = ["Bad Request: two 3"]
        press_data = reply.buttons()[texts()["wrong"]]
        telegram.press(OTHER, press_data, message=int(reply.data["message_id"]))
        (*_, third) = telegram.wait_for(3, OPERATOR)
    assert "button_press.py:" in third.text
    assert all("photos.py:" in call.text for call in alarms)
