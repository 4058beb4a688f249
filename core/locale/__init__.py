"""The sentences and class names that people read, in English and Dutch."""

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
    "bot_words",
    "decimal",
    "error_words",
    "label_name",
    "page_words",
    "percent",
    "verdict_words",
]

Language = Literal["en", "nl"]
LANGUAGES: tuple[Language, ...] = ("en", "nl")

_DUTCH = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class _Table:
    """One language: sentences by key, and labels by their English name."""

    verdicts: dict[str, str]
    numbers: dict[str, str]
    labels: dict[str, dict[str, str]]
    errors: dict[str, str]
    page: dict[str, str]
    bot: dict[str, str]


def verdict_words(prediction: Prediction, language: Language = "en") -> str:
    """The answer in a sentence, as `A cat (97% sure)`.

    Args:
        prediction: The answer; its labels may be any, those without a translation stay as they are.
        language: Which language.
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


def error_words(error: TenSightError, language: Language = "en") -> str:
    """What went wrong and what to do, for who sent the photo."""
    table = _table(language).errors
    retry_after = error.retry_after if isinstance(error, BusyError | RateError) else 0
    return table.get(error.code, table["other"]).format(retry_after=retry_after)


def label_name(label: str, language: Language = "en") -> str:
    """A label's name; the label itself where there is no translation."""
    entry = _table(language).labels.get(label)
    return entry["name"] if entry else label


def percent(confidence: float) -> str:
    """A confidence as people read it; never 100% or 0%, since nothing is certain."""
    if confidence >= 0.995:
        return ">99%"
    return "<1%" if confidence < 0.005 else f"{confidence:.0%}"


def decimal(value: float, places: int, language: Language = "en") -> str:
    """A number as people write it, as 1,234.5 in English and 1.234,5 in Dutch."""
    written = f"{value:,.{places}f}"
    return written.translate(_DUTCH) if language == "nl" else written


def bot_words(language: Language = "en") -> dict[str, str]:
    """The words of the bot, by key."""
    return dict(_table(language).bot)


def page_words(language: Language = "en") -> dict[str, str]:
    """The words of the web page, by key."""
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
