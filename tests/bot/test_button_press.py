"""Presses of buttons, whatever the button does."""

from __future__ import annotations

import pytest

from tests.support.running_bot import RunningBot, press, texts, with_data
from tests.support.telegram_server import Call

T = texts()


def test_button_of_an_expired_answer_is_explained(bot: RunningBot, chat: int, reply: Call) -> None:
    unknown = with_data(reply, "why:unknown")
    assert press(bot.telegram, chat, unknown, "x")[1].text == T["gone"]


def test_button_of_inaccessible_message_is_explained(
    bot: RunningBot, chat: int, reply: Call
) -> None:
    _, notice = press(bot.telegram, chat, reply, T["why"], accessible=False)
    assert notice.text == T["too_old"]


@pytest.mark.parametrize("reason", ["message to edit not found", "message can't be edited"])
def test_button_of_a_deleted_message_is_explained(
    bot: RunningBot, chat: int, reply: Call, reason: str
) -> None:
    bot.telegram.faults.reasons["editMessageMedia"] = [f"Bad Request: {reason}"]
    _, notice = press(bot.telegram, chat, reply, T["why"])
    assert notice.text == T["too_old"]


def test_caption_is_edited_where_a_picture_replaced_the_text(
    bot: RunningBot, chat: int, reply: Call
) -> None:
    reason = "Bad Request: there is no text in the message to edit"
    bot.telegram.faults.reasons["editMessageText"] = [reason]
    shown, _ = press(bot.telegram, chat, reply, T["compare"])
    assert shown.method == "editMessageCaption"
