"""A bot with an operator who labels photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.charts.drawer import ChartDrawer
from tests.support.rollouts import MODEL, settings_with_model
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts
from tests.support.telegram_server import Call, TelegramServer

__all__ = ["OPERATOR", "USER", "consent", "message_number", "operated_bot", "send", "show"]

T = texts()
OPERATOR, USER = 501, 503


@contextmanager
def operated_bot(telegram: TelegramServer, folder: Path, **more: Any) -> Iterator[RunningBot]:
    """Run a bot that has an operator, with one model."""
    settings = settings_with_model(folder)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": (OPERATOR,)} | more
    with running_bot(telegram, settings.home, **options) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


def consent(bot: RunningBot, user: int = USER, button: str = "let_label_off") -> Call:
    """Let operators label the photos of a user, from now on."""
    offer = ask(bot.telegram, user, lambda: bot.telegram.text(user, "/privacy"))
    return press(bot.telegram, user, offer, T[button])[0]


def send(bot: RunningBot, content: bytes, user: int = USER) -> None:
    """Send a photo of a user, and wait for the answer."""
    ask(bot.telegram, user, lambda: bot.telegram.photo(user, content))
    bot.wait_until_idle()


def show(bot: RunningBot) -> Call:
    """Let the operator ask for a photo to label, and return the message with it."""
    shown = ask(bot.telegram, OPERATOR, lambda: bot.telegram.text(OPERATOR, "/label"))
    bot.wait_until_idle()
    return shown


def message_number(message: Call) -> int:
    """Return the number of a message in its chat."""
    return int(message.data["message_id"])
