"""Localised texts: sentences, label names and number formats, one TOML file a language."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any

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
    "language_of_tag",
    "page_texts",
    "percent",
]

Language = str
"""Code of a language, the name of its file here without the suffix, such as `en`."""

_DEFAULT: Language = "en"


def _find_languages() -> tuple[Language, ...]:
    """List the languages that have a file here: English first, the others by code."""
    names = [file.name for file in resources.files(__name__).iterdir()]
    codes = {name.removesuffix(".toml") for name in names if name.endswith(".toml")}
    return (_DEFAULT, *sorted(codes - {_DEFAULT}))


LANGUAGES: tuple[Language, ...] = _find_languages()
"""Codes of all languages; a new file in this folder adds one."""


@dataclass(frozen=True)
class _Table:
    """The texts of one language: sentences by key, label names by label.

    Attributes:
        format: Separators of numbers, `decimal` and `thousands`.
        numbers: Small numbers in words, by their digits.
    """

    format: dict[str, str]
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
    """Format a number with the separators of a language: 1,234.5 in English, 1.234,5 in German.

    Args:
        value: The number.
        places: Number of decimal places.
        language: Language of the separators.
    """
    separators = _table(language).format
    own = str.maketrans(",.", separators["thousands"] + separators["decimal"])
    return f"{value:,.{places}f}".translate(own)


def language_of_tag(tag: object) -> Language | None:
    """Return the language of an IETF tag such as `de-AT`.

    Args:
        tag: The tag, as it was received from outside; it may be missing or of any type.

    Returns:
        None if it is not a string, or if there is no file for its language.
    """
    code = tag.split("-")[0].strip().lower() if isinstance(tag, str) else ""
    return code if code in LANGUAGES else None


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
    """Read the texts of a language; English texts fill the gaps."""
    content, english = _read(language), _read(_DEFAULT)
    return _Table(**{f.name: english[f.name] | content.get(f.name, {}) for f in fields(_Table)})


def _read(language: Language) -> dict[str, Any]:
    content = resources.files(__name__).joinpath(f"{language}.toml").read_text("utf-8")
    return tomllib.loads(content)
