"""What the bot says, and the buttons under it: pure functions of an answer and a language."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from bot.state import Desk
from core import locale
from core.bundle.leaderboard import Result
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.locale import Language
from core.store.feedback import NONE

__all__ = [
    "JUDGED",
    "album",
    "answer",
    "answer_buttons",
    "class_buttons",
    "comparison",
    "confirm_buttons",
    "greeting",
    "model_buttons",
    "model_code",
    "privacy_text",
]

JUDGED = "judged"
"""What a button carries from an answer that nobody is asked to judge to the way back to it."""

_TOP = 3
_A_ROW = 3
# A model may know a thousand.
_MOST_BUTTONS = 30
_MOST_NAMES = 20


def answer(prediction: Prediction, title: str, language: Language) -> str:
    """The verdict, the three most probable labels, and which model says so."""
    top = "\n".join(
        f"{locale.label_name(label, language)} {locale.percent(score)}"
        for label, score in list(prediction.scores.items())[:_TOP]
    )
    return f"{locale.verdict_words(prediction, language)}\n\n{top}\n\n{title}"


def album(said: Sequence[Prediction | TenSightError | None], title: str, language: Language) -> str:
    """A numbered line for each item, in their order, and which model says so; None: no photo."""
    lines = [f"{n}. {_said(each, language)}" for n, each in enumerate(said, start=1)]
    return "\n".join([*lines, "", title])


def comparison(
    answers: Sequence[tuple[str, Prediction | TenSightError]], language: Language
) -> str:
    """What each model says, by its title."""
    return "\n".join(f"{title}: {_said(each, language)}" for title, each in answers)


def _said(each: Prediction | TenSightError | None, language: Language) -> str:
    if each is None:
        return locale.bot_words(language)["no_photo"]
    if isinstance(each, TenSightError):
        return f"⚠ {locale.error_words(each, language)}"
    return locale.verdict_words(each, language)


def greeting(key: str, labels: Sequence[str], language: Language) -> str:
    """A text that names the labels."""
    words = locale.bot_words(language)
    names = [locale.label_name(label, language) for label in labels[:_MOST_NAMES]]
    if len(labels) > _MOST_NAMES:
        names.append(words["others"].format(n=len(labels) - _MOST_NAMES))
    return words[key].format(labels=", ".join(names))


def answer_buttons(key: str, language: Language, *, judged: bool = False) -> InlineKeyboardMarkup:
    """Under an answer.

    Args:
        key: Of the answer.
        language: Of the words on them.
        judged: Whether nobody is asked if it is right: somebody has said so, or it is several.
    """
    words = locale.bot_words(language)
    rows = [[_button(words["why"], "why", key), _button(words["compare"], "compare", key)]]
    if not judged:
        rows.append([_button(words["right"], "right", key), _button(words["wrong"], "wrong", key)])
    rows.append([_button(words["model"], "models", key, JUDGED if judged else "")])
    return InlineKeyboardMarkup(rows)


def class_buttons(key: str, labels: Sequence[str], language: Language) -> InlineKeyboardMarkup:
    """What is in the photo, where the answer was wrong; by its place among the sorted labels.

    Args:
        key: Of the answer.
        labels: The most probable first; of many, the first are offered.
        language: Of the words on them.
    """
    words, places = locale.bot_words(language), {k: i for i, k in enumerate(sorted(labels))}
    buttons = [
        _button(locale.label_name(label, language), "truth", key, str(places[label]))
        for label in sorted(labels[:_MOST_BUTTONS])
    ]
    rows = [buttons[i : i + _A_ROW] for i in range(0, len(buttons), _A_ROW)]
    rows.append([_button(words["none_of_these"], "truth", key, NONE)])
    rows.append([_button(words["back"], "back", key)])
    return InlineKeyboardMarkup(rows)


def model_buttons(
    results: Sequence[Result], language: Language, chosen: str, key: str = "", back: str = ""
) -> InlineKeyboardMarkup:
    """The models with their figures.

    Args:
        results: The models.
        language: Of the numbers.
        chosen: Name of the model that answers in the chat, or gave the answer; it is marked.
        key: Of the answer that another model is to give; empty: who is to answer in the chat.
        back: `JUDGED` where the answer's buttons did not ask whether it is right.
    """
    rows = []
    for result in results:
        figures, code = result.metrics, model_code(result.config.name)
        accuracy = locale.decimal(100 * figures.test.accuracy, 1, language)
        speed = locale.decimal(figures.milliseconds, 1, language)
        mark = "✓ " if result.config.name == chosen else ""
        text = f"{mark}{result.config.title} · {accuracy}% · {speed} ms"
        rows.append([_button(text, "model", key, code)])
    if key:
        rows.append([_button(locale.bot_words(language)["back"], "back", key, back)])
    return InlineKeyboardMarkup(rows)


def confirm_buttons(key: str, language: Language) -> InlineKeyboardMarkup:
    """Under what an operator is asked before it is done."""
    words = locale.bot_words(language)
    return InlineKeyboardMarkup(
        [[_button(words["yes"], "do", key), _button(words["cancel"], "drop", key)]]
    )


def model_code(name: str) -> str:
    """A model's name as a button carries it: what a button carries has 64 bytes at most."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _button(text: str, *parts: str) -> InlineKeyboardButton:
    return InlineKeyboardButton(text, callback_data=":".join(parts))


def privacy_text(
    desk: Desk, language: locale.Language, keeps: bool
) -> tuple[str, InlineKeyboardMarkup]:
    """Say what is stored, and whether photos are; with a button that changes it."""
    words = locale.bot_words(language)
    kept = words["kept" if keeps else "not_kept"]
    text = words["privacy"].format(days=desk.settings.retention_days, kept=kept)
    shown, change = (words["keep_on"], "0") if keeps else (words["keep_off"], "1")
    button = InlineKeyboardButton(shown, callback_data=f"keep::{change}")
    return text, InlineKeyboardMarkup([[button]])
