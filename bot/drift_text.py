"""Text of a drift alarm, as a pure function of reports and a language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from telegram.constants import MessageLimit

from bot.evidence_text import format_share, label_text
from core import locale
from core.locale import Language
from core.rollout.answer_counts import CONFIDENCE_BIN_WIDTH, SCORE_BIN_WIDTH
from core.rollout.drift_result import BinGroup, Difference, DriftReport
from core.store.feedback import NONE

__all__ = ["drift_text", "group_name"]

_MAX_OTHERS = 4


def drift_text(reports: Sequence[DriftReport], language: Language) -> str:
    """Describe how the photos of the last day differ, and what to check.

    Args:
        reports: The reports, with at least one alarm each. The first one is described in detail,
            the others are named.
        language: Language of the text.

    Returns:
        A text that fits below a picture; what to check is shortened where it would not.
    """
    worst, *others = reports
    texts = locale.bot_texts(language)
    lines = [texts["drift_alarm"].format(model=worst.model, revision=worst.revision)]
    lines += (_difference(name, worst.month[name], language) for name in worst.alarms)
    lines += _validation(worst, language)
    if others:
        lines.append(_others(others, language))
    hints = [f"• {hint}" for hint in _hints(worst, language)]
    while hints:
        text = "\n".join([*lines, "", texts["drift_look"], *hints])
        if len(text) <= MessageLimit.CAPTION_LENGTH:
            return text
        hints.pop()
    return "\n".join(lines)[: MessageLimit.CAPTION_LENGTH]


def group_name(statistic: str, group: BinGroup, language: Language) -> str:
    """Name the bins of a group: labels, a range of confidences or one of known scores.

    Args:
        statistic: `labels`, `known_scores` or `confidences`.
        group: The group.
        language: Language of the names and numbers.
    """
    if statistic == "labels":
        return ", ".join(label_text(each, language) for each in group.bins)
    low, high = float(group.bins[0]), float(group.bins[-1])
    if statistic == "confidences":
        ends = f"{100 * low:.0f}", f"{100 * (high + CONFIDENCE_BIN_WIDTH):.0f}%"
    else:
        bounds = low, high + SCORE_BIN_WIDTH
        ends = locale.decimal(bounds[0], 2, language), locale.decimal(bounds[1], 2, language)
    return locale.bot_texts(language)["drift_range"].format(low=ends[0], high=ends[1])


def _others(reports: Sequence[DriftReport], language: Language) -> str:
    texts = locale.bot_texts(language)
    named = ", ".join(
        texts["drift_other"].format(
            model=report.model,
            revision=report.revision,
            statistics=", ".join(texts[f"drift_{name}"] for name in report.alarms),
        )
        for report in reports[:_MAX_OTHERS]
    )
    more = len(reports) - _MAX_OTHERS
    if more > 0:
        return texts["drift_others_more"].format(others=named, n=more)
    return texts["drift_others"].format(others=named)


def _difference(statistic: str, difference: Difference, language: Language) -> str:
    most = difference.most_changed[0]
    return locale.bot_texts(language)["drift_difference"].format(
        statistic=locale.bot_texts(language)[f"drift_{statistic}"],
        change=format_share(difference.change, language),
        n=difference.n,
        most=group_name(statistic, most, language),
        before=format_share(most.reference_share, language),
        now=format_share(most.share, language),
    )


def _validation(report: DriftReport, language: Language) -> Iterator[str]:
    """Yield how far the photos are from the validation data, where there are enough of them."""
    texts = locale.bot_texts(language)
    found = [
        texts["drift_moved"].format(
            statistic=texts[f"drift_{name}"], change=format_share(difference.change, language)
        )
        for name, difference in report.validation.items()
        if difference.groups
    ]
    if found:
        yield texts["drift_validation"].format(differences=", ".join(found))


def _hints(report: DriftReport, language: Language) -> Iterator[str]:
    """Yield what an operator should check, for each statistic that differs."""
    texts = locale.bot_texts(language)
    for name in report.alarms:
        difference = report.month[name]
        if name == "labels":
            rises = next(g for g in difference.most_changed if g.share > g.reference_share)
            hint = "drift_look_none" if rises.bins == (NONE,) else "drift_look_labels"
            yield texts[hint].format(most=group_name(name, rises, language))
        else:
            direction = "higher" if difference.is_higher else "lower"
            yield texts[f"drift_look_{name}_{direction}"]
    yield texts["drift_look_model"].format(model=report.model)
