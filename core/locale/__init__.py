"""Localised texts: user-facing sentences, label names and number formats in English and Dutch."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from core.errors import BusyError, RateError, TenSightError
from core.inference.prediction import Prediction

__all__ = [
    "LANGUAGES",
    "Language",
    "bot_texts",
    "decimal",
    "format_error",
    "format_verdict",
    "label_name",
    "page_texts",
    "percent",
]

Language = Literal["en", "nl"]
LANGUAGES: tuple[Language, ...] = ("en", "nl")

_DUTCH = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class _Table:
    """The texts of one language: sentences by key, label names by label."""

    verdicts: dict[str, str]
    numbers: dict[str, str]
    labels: dict[str, dict[str, str]]
    errors: dict[str, str]
    page: dict[str, str]
    bot: dict[str, str]


def format_verdict(prediction: Prediction, language: Language = "en") -> str:
    """Format a prediction as a sentence, such as `A cat (97% sure)`.

    Args:
        prediction: The prediction, of at least two labels. Labels without a translation are shown
            as they are.
        language: Language of the sentence.
    """
    first, second = list(prediction.scores)[:2]
    sentence = (
        _table(language)
        .verdicts[prediction.verdict]
        .format(
            indefinite=_indefinite(first, language),
            first=label_name(first, language),
            second=label_name(second, language),
            percent=percent(prediction.confidence),
            count=_number(len(prediction.scores), language),
        )
    )
    return sentence[:1].upper() + sentence[1:]


def format_error(error: TenSightError, language: Language = "en") -> str:
    """Format an error for the person who sent the photo: what happened and what to do next."""
    table = _table(language).errors
    retry_after = error.retry_after if isinstance(error, BusyError | RateError) else 0
    return table.get(error.code, table["other"]).format(retry_after=retry_after)


def label_name(label: str, language: Language = "en") -> str:
    """Return the translated name of a label, or the label itself without a translation."""
    entry = _table(language).labels.get(label)
    return entry["name"] if entry else label


def percent(confidence: float) -> str:
    """Format a confidence, 0 to 1, as a percentage; at the ends `>99%` and `<1%`."""
    if confidence >= 0.995:
        return ">99%"
    return "<1%" if confidence < 0.005 else f"{confidence:.0%}"


def decimal(value: float, places: int, language: Language = "en") -> str:
    """Format a number with the separators of a language: 1,234.5 in English, 1.234,5 in Dutch.

    Args:
        value: The number.
        places: Number of decimal places.
        language: Language of the separators.
    """
    written = f"{value:,.{places}f}"
    return written.translate(_DUTCH) if language == "nl" else written


def bot_texts(language: Language = "en") -> dict[str, str]:
    """Return a copy of the bot's texts, by key."""
    return dict(_table(language).bot)


def page_texts(language: Language = "en") -> dict[str, str]:
    """Return a copy of the web page's texts, by key."""
    return dict(_table(language).page)


def _indefinite(label: str, language: Language) -> str:
    entry = _table(language).labels.get(label)
    return entry["indefinite"] if entry else label


def _number(n: int, language: Language) -> str:
    return _table(language).numbers.get(str(n), str(n))


@functools.cache
def _table(language: Language) -> _Table:
    content = resources.files(__name__).joinpath(f"{language}.toml").read_text("utf-8")
    return _Table(**tomllib.loads(content))
