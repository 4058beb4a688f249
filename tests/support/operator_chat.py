"""The chat of an operator with the bot."""

from __future__ import annotations

from tests.support.running_bot import ask, press, texts
from tests.support.telegram_server import TelegramServer

__all__ = ["OPERATOR", "OTHER", "USER", "command", "confirm", "last_text"]

T = texts()
OPERATOR, OTHER, USER = 501, 502, 503


def command(telegram: TelegramServer, text: str) -> str:
    """Send a command of the operator and return the text of the reply."""
    return ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, text)).text


def last_text(telegram: TelegramServer) -> str:
    """Return the text of the last message to the operator."""
    sent = telegram.sent(OPERATOR)
    return sent[-1].text if sent else ""


def confirm(telegram: TelegramServer, text: str, button: str = T["yes"]) -> str:
    """Send a command and press a button of the question; return the question."""
    question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, text))
    press(telegram, OPERATOR, question, button)
    return question.text
