"""Outcome of an operator's command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.state import BotState
from core import locale
from core.locale import Language
from core.serving.local import LocalPredictor

__all__ = ["Outcome", "live_outcome"]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a command, as a localised text.

    Attributes:
        key: Key of the text in `locale.bot_texts`.
        values: Values of its placeholders.
        note: Key of a text that is added on its own line, if any.
    """

    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    note: str | None = None

    def text(self, language: Language) -> str:
        """Format the outcome in a language."""
        texts = locale.bot_texts(language)
        text = texts[self.key].format(**self.values)
        return text if self.note is None else f"{text}\n{texts[self.note]}"


def live_outcome(state: BotState, key: str, values: Mapping[str, object]) -> Outcome:
    """Build the outcome of a promotion, with a note if a remote service answers photos.

    The promotion is stored in this bot's database; the service may use another one.

    Args:
        state: The bot's state.
        key: Key of the text in `locale.bot_texts`.
        values: Values of its placeholders.
    """
    is_local = isinstance(state.predictor, LocalPredictor)
    return Outcome(key, values, None if is_local else "live_elsewhere")
