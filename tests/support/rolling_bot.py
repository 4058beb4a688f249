"""A bot with an operator who rolls out a candidate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.charts.drawer import ChartDrawer
from core.settings import Settings
from core.store.rollouts import Rollout
from core.store.store import Store
from tests.support.rollouts import MODEL, install_candidate, settings_with_model
from tests.support.running_bot import RunningBot, ask, press, running_bot
from tests.support.telegram_server import Call, TelegramServer

__all__ = ["OPERATOR", "USER", "Rolling", "begun", "rolling_bot"]

OPERATOR, USER = 501, 503


@dataclass
class Rolling:
    """A bot with one operator, and an installed candidate of its model."""

    bot: RunningBot
    candidate: str

    @property
    def telegram(self) -> TelegramServer:
        return self.bot.telegram

    @property
    def store(self) -> Store:
        return self.bot.store

    def ask(self, text: str) -> Call:
        """Send a command of the operator and return the reply."""
        return ask(self.telegram, OPERATOR, lambda: self.telegram.text(OPERATOR, text))

    def press(self, message: Call, button: str) -> str:
        """Press a button and return the text of the message that follows."""
        before = len(self.telegram.sent(OPERATOR))
        press(self.telegram, OPERATOR, message, button)
        return self.telegram.wait_for(before + 1, OPERATOR)[-1].text

    def active(self) -> list[tuple[str, str, float]]:
        """Return kind, candidate and share of the active rollouts."""
        return [(each.kind, each.candidate, each.share) for each in self.store.rollouts.active()]


@contextmanager
def rolling_bot(telegram: TelegramServer, folder: Path) -> Iterator[Rolling]:
    """Run a bot that draws no pictures, with an installed candidate of its model."""
    settings: Settings = settings_with_model(folder)
    candidate = install_candidate(settings)
    options: dict[str, Any] = {
        "models": settings.models,
        "model": MODEL,
        "threads": 1,
        "operators": (OPERATOR,),
    }
    with running_bot(telegram, settings.home, **options) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield Rolling(bot, candidate)


def begun(rolling: Rolling, kind: str = "canary") -> Rollout:
    """Begin a rollout of the candidate without the bot."""
    return rolling.store.rollouts.begin(
        MODEL,
        "shadow" if kind == "shadow" else "canary",
        candidate=rolling.candidate,
        live=rolling.bot.state.releases.resolve_revision(MODEL, "bundled"),
        share=1.0 if kind == "shadow" else 0.1,
        slow_ms=50.0,
    )
