"""Reply texts and inline keyboards of the bot, as pure functions of predictions and a language."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.locale import Language
from core.store.feedback import NONE
from core.store.rollouts import Rollout

__all__ = [
    "JUDGED",
    "NOTHING",
    "album",
    "answer",
    "answer_buttons",
    "class_buttons",
    "comparison",
    "confirm_buttons",
    "correction_buttons",
    "greeting",
    "label_buttons",
    "model_buttons",
    "model_code",
    "privacy_text",
    "rollout_buttons",
    "use_button",
]

NOTHING = "nothing"
"""Callback data part of the button that declines to teach a model again."""

JUDGED = "judged"
"""Callback data part that marks an answer without feedback buttons, for the button Back."""

_TOP_LABELS = 3
_BUTTONS_PER_ROW = 3
# A model may have up to 1,000 labels, a taught one 50.
_MAX_LABEL_BUTTONS = 50
_MAX_LABEL_NAMES = 20


def answer(prediction: Prediction, title: str, language: Language) -> str:
    """Format a prediction: its verdict, the three most probable labels and the model's title.

    Args:
        prediction: The prediction.
        title: Title of the model.
        language: Language of the text.
    """
    top = "\n".join(
        f"{locale.label_name(label, language)} {locale.percent(score)}"
        for label, score in list(prediction.scores.items())[:_TOP_LABELS]
    )
    return f"{locale.format_verdict(prediction, language)}\n\n{top}\n\n{title}"


def album(
    answers: Sequence[Prediction | TenSightError | None], title: str, language: Language
) -> str:
    """Format the answers to an album as a numbered list, followed by the model's title.

    Args:
        answers: Prediction or error of each item in order; None for an item that is not a photo.
        title: Title of the model.
        language: Language of the text.
    """
    lines = [f"{n}. {_line(each, language)}" for n, each in enumerate(answers, start=1)]
    return "\n".join([*lines, "", title])


def comparison(
    answers: Sequence[tuple[str, Prediction | TenSightError]], language: Language
) -> str:
    """Format the answers of several models, one line each.

    Args:
        answers: Title of each model, and its prediction or error.
        language: Language of the text.
    """
    return "\n".join(f"{title}: {_line(each, language)}" for title, each in answers)


def _line(answer: Prediction | TenSightError | None, language: Language) -> str:
    if answer is None:
        return locale.bot_texts(language)["no_photo"]
    if isinstance(answer, TenSightError):
        return f"⚠ {locale.format_error(answer, language)}"
    return locale.format_verdict(answer, language)


def greeting(key: str, labels: Sequence[str], language: Language) -> str:
    """Format a text that lists the labels, at most 20 by name.

    Args:
        key: Key of the text, which has a placeholder for the labels.
        labels: Labels of the model.
        language: Language of the text.
    """
    texts = locale.bot_texts(language)
    names = [locale.label_name(label, language) for label in labels[:_MAX_LABEL_NAMES]]
    if len(labels) > _MAX_LABEL_NAMES:
        names.append(texts["others"].format(n=len(labels) - _MAX_LABEL_NAMES))
    return texts[key].format(labels=", ".join(names))


def answer_buttons(key: str, language: Language, *, judged: bool = False) -> InlineKeyboardMarkup:
    """Build the keyboard under an answer.

    Args:
        key: Key of the answer in the database.
        language: Language of the button texts.
        judged: Whether to leave out the feedback buttons, because feedback was given or the
            message holds several answers.
    """
    texts = locale.bot_texts(language)
    rows = [[_button(texts["why"], "why", key), _button(texts["compare"], "compare", key)]]
    if not judged:
        rows.append([_button(texts["right"], "right", key), _button(texts["wrong"], "wrong", key)])
    rows.append([_button(texts["model"], "models", key, JUDGED if judged else "")])
    return InlineKeyboardMarkup(rows)


def class_buttons(key: str, labels: Sequence[str], language: Language) -> InlineKeyboardMarkup:
    """Build the keyboard for the true label of a wrong answer.

    The buttons carry the label's index among the sorted labels.

    Args:
        key: Key of the answer in the database.
        labels: Labels in descending order of probability; the first 50 get a button.
        language: Language of the button texts.
    """
    rows = _class_rows("truth", key, labels, language)
    rows.append([_button(locale.bot_texts(language)["back"], "back", key)])
    return InlineKeyboardMarkup(rows)


def label_buttons(key: str, labels: Sequence[str], language: Language) -> InlineKeyboardMarkup:
    """Build the keyboard with which an operator labels a photo; arguments as `class_buttons`."""
    texts = locale.bot_texts(language)
    rows = _class_rows("label", key, labels, language)
    rows.append(
        [
            _button(texts["label_skip"], "label", key, "skip"),
            _button(texts["label_end"], "label", key, "end"),
        ]
    )
    return InlineKeyboardMarkup(rows)


def _class_rows(
    action: str, key: str, labels: Sequence[str], language: Language
) -> list[list[InlineKeyboardButton]]:
    """Build the rows with a button for each class and one for none of them."""
    indices = {label: i for i, label in enumerate(sorted(labels))}
    buttons = [
        _button(locale.label_name(label, language), action, key, str(indices[label]))
        for label in sorted(labels[:_MAX_LABEL_BUTTONS])
    ]
    rows = [buttons[i : i + _BUTTONS_PER_ROW] for i in range(0, len(buttons), _BUTTONS_PER_ROW)]
    none = locale.bot_texts(language)["none_of_these"]
    return [*rows, [_button(none, action, key, NONE)]]


def correction_buttons(
    key: str, number: str, label: str, language: Language
) -> InlineKeyboardMarkup:
    """Build the keyboard that asks whether a taught model learns the photo of an answer.

    Args:
        key: Key of the answer in the database.
        number: Index of the class among the sorted labels of the answer.
        label: Name of the class.
        language: Language of the button texts.
    """
    texts = locale.bot_texts(language)
    learn = texts["teach_correction_offered"].format(label=label)
    return InlineKeyboardMarkup(
        [
            [_button(learn, "learn", key, number)],
            [_button(texts["teach_correction_declined"], "learn", key, NOTHING)],
        ]
    )


def model_buttons(
    models: Sequence[ModelInfo], language: Language, selected: str, key: str = "", back: str = ""
) -> InlineKeyboardMarkup:
    """Build the keyboard for selecting a model, with test accuracy and latency of each.

    Args:
        models: The models to list.
        language: Language of the number formats.
        selected: Name of the model to mark: the chat's model, or the one that gave the answer.
        key: Key of the answer to repeat with another model; empty to select the chat's model.
        back: `JUDGED` where the answer has no feedback buttons, otherwise empty.
    """
    rows = []
    for model in models:
        metrics, code = model.metrics, model_code(model.config.name)
        accuracy = locale.decimal(100 * metrics.test.accuracy, 1, language)
        latency = locale.decimal(metrics.milliseconds, 1, language)
        mark = "✓ " if model.config.name == selected else ""
        text = f"{mark}{model.config.title} · {accuracy}% · {latency} ms"
        rows.append([_button(text, "model", key, code)])
    if key:
        rows.append([_button(locale.bot_texts(language)["back"], "back", key, back)])
    return InlineKeyboardMarkup(rows)


def confirm_buttons(key: str, language: Language) -> InlineKeyboardMarkup:
    """Build the keyboard that asks an operator to confirm a command."""
    texts = locale.bot_texts(language)
    return InlineKeyboardMarkup(
        [[_button(texts["yes"], "do", key), _button(texts["cancel"], "drop", key)]]
    )


def rollout_buttons(rollout: Rollout, language: Language) -> InlineKeyboardMarkup:
    """Build the keyboard that promotes the candidate of an active rollout, or ends the rollout."""
    texts, number = locale.bot_texts(language), str(rollout.number)
    promote = texts["promote_button"].format(revision=rollout.candidate)
    return InlineKeyboardMarkup(
        [
            [_button(promote, "release", number)],
            [_button(texts[f"end_{rollout.kind}"], "end", number)],
        ]
    )


def model_code(name: str) -> str:
    """Hash a model's name to 12 hex digits, since callback data is limited to 64 bytes."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _button(text: str, *parts: str) -> InlineKeyboardButton:
    return InlineKeyboardButton(text, callback_data=":".join(parts))


def use_button(model: str, language: Language) -> InlineKeyboardMarkup:
    """Build the keyboard that makes a taught model the one that answers in the chat."""
    text = locale.bot_texts(language)["teach_use"]
    return InlineKeyboardMarkup([[_button(text, "model", "", model_code(model))]])


def privacy_text(
    days: int, language: Language, keeps: bool, labels: bool, taught: Sequence[str]
) -> tuple[str, InlineKeyboardMarkup]:
    """Format the privacy notice and build the buttons that turn the user's consent on or off.

    Args:
        days: Retention period in days.
        language: Language of the texts.
        keeps: Whether the user's photos are stored now, with feedback.
        labels: Whether operators may label the user's photos now.
        taught: Names of the models that the chat taught.
    """
    texts = locale.bot_texts(language)
    kept = texts["kept" if keeps else "not_kept"]
    if labels:
        kept = f"{kept} {texts['labels_on']}" if keeps else texts["labels_on"]
    text = texts["privacy"].format(days=days, kept=kept)
    if taught:
        names = ", ".join(f"“{title}”" for title in taught)
        text = f"{text}\n\n{texts['privacy_taught'].format(titles=names)}"
    rows = [
        [_button(texts[f"{name}_on" if on else f"{name}_off"], action, "", "0" if on else "1")]
        for name, action, on in (("keep", "keep", keeps), ("let_label", "labels", labels))
    ]
    return text, InlineKeyboardMarkup(rows)
