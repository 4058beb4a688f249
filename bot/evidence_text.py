"""Texts about the evidence of a rollout, as pure functions of the evidence and a language."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bot.chat_wording import reword_for_chat
from bot.evidence_order import by_mistakes
from core import locale
from core.bundle.metrics import ProportionEstimate
from core.locale import Language
from core.rollout.evidence import UNSURE, CanaryEvidence, ShadowEvidence, lacks_answers
from core.store.end_reasons import EndReason
from core.store.feedback import NONE
from core.store.rollouts import Rollout

__all__ = [
    "answer_text",
    "difference_lines",
    "evidence_text",
    "format_evidence",
    "format_share",
    "label_text",
    "reason_text",
]

_MAX_ROWS = 10
_MAX_CHARACTERS = 3500  # a question follows in the same message


def evidence_text(
    rollout: Rollout, evidence: CanaryEvidence | ShadowEvidence, language: Language
) -> str:
    """Describe a rollout and the evidence about its candidate.

    Args:
        rollout: The rollout.
        evidence: The evidence about it.
        language: Language of the text.
    """
    lines = list(_head(rollout, language))
    if lacks_answers(rollout, evidence):
        lines.append(locale.bot_texts(language)["evidence_unanswered"])
    if isinstance(evidence, CanaryEvidence):
        lines += _canary(evidence, language)
    else:
        lines += _shadow(evidence, language)
    return "\n".join(lines)[:_MAX_CHARACTERS]


def format_share(share: float, language: Language) -> str:
    """Format a share, 0 to 1, as a percentage with one decimal place where it is needed.

    A share close to 0 or 1 gets more decimal places, so that it is not shown as 0% or 100%.
    """
    places = 0 if round(100 * share, 1).is_integer() else 1
    rest = 100 * min(share, 1 - share)
    if 0 < rest < 0.1:
        places = -math.floor(math.log10(rest))
    return f"{locale.decimal(100 * share, places, language)}%"


def format_evidence(evidence: float, alarm_at: float, language: Language) -> str:
    """Format the evidence of a test: `> …` above ten times its limit, and `< 0.1` below 0.1.

    Args:
        evidence: The evidence, greater than 0.
        alarm_at: Its limit.
        language: Language of the separators.
    """
    if evidence > 10 * alarm_at:
        return f"> {locale.decimal(10 * alarm_at, 0, language)}"
    if evidence < 0.1:
        return f"< {locale.decimal(0.1, 1, language)}"
    return locale.decimal(evidence, 1, language)


def label_text(label: str, language: Language) -> str:
    """Return the name of a label, or of the answer that a photo shows none of them."""
    if label == NONE:
        return locale.bot_texts(language)["none_of_these"]
    return locale.label_name(label, language)


def answer_text(answer: str, language: Language) -> str:
    """Return an answer of `ShadowEvidence.changes` in a language."""
    label = answer.removesuffix(UNSURE)
    if label == answer:
        return label_text(answer, language)
    unsure = locale.bot_texts(language)["digest_verdict_unsure"]
    return f"{label_text(label, language)} ({unsure})"


def difference_lines(evidence: ShadowEvidence, language: Language) -> Iterator[str]:
    """Yield a line about the confidence, and one about the known score, of both revisions.

    Args:
        evidence: The evidence about a shadow.
        language: Language of the lines.
    """
    texts = locale.bot_texts(language)
    for name, values in evidence.differences.items():
        factor, places = (100, 1) if name == "confidence" else (1, 2)
        median, low, high = (_signed(factor * value, places, language) for value in values)
        yield texts[f"evidence_{name}"].format(median=median, low=low, high=high)


def reason_text(cause: EndReason | None, sentence: str, language: Language) -> str:
    """Return the reason why a rollout ended, as a sentence without a full stop.

    Args:
        cause: The reason; None where an earlier version ended the rollout.
        sentence: The reason in English, which is returned where there is no text for the cause.
        language: Language of the text.
    """
    text = None if cause is None else locale.bot_texts(language).get(f"reason_{cause.code}")
    if cause is None or text is None:
        return reword_for_chat(sentence).removesuffix(".")
    values = {
        name: value if isinstance(value, str) else locale.decimal(value, 0, language)
        for name, value in cause.values.items()
    }
    if "evidence" in values:
        evidence, alarm_at = cause.values["evidence"], cause.values["alarm_at"]
        values["evidence"] = format_evidence(evidence, alarm_at, language)
    return reword_for_chat(text.format(**values)).removesuffix(".")


def _head(rollout: Rollout, language: Language) -> Iterator[str]:
    texts = locale.bot_texts(language)
    yield texts[f"evidence_{rollout.kind}"].format(
        model=rollout.model,
        candidate=rollout.candidate,
        live=rollout.live,
        share=format_share(rollout.share, language),
        since=f"{rollout.began_at:%Y-%m-%d %H:%M} UTC",
    )
    if rollout.ended_at is not None:
        yield texts["evidence_ended"].format(
            at=f"{rollout.ended_at:%Y-%m-%d %H:%M} UTC",
            outcome=texts[f"outcome_{rollout.outcome}"],
            reason=reason_text(rollout.cause, rollout.reason or "", language),
        )


def _canary(evidence: CanaryEvidence, language: Language) -> Iterator[str]:
    texts = locale.bot_texts(language)
    yield ""
    for test in evidence.tests:
        yield texts["evidence_test"].format(
            test=texts[f"evidence_{test.test}"],
            failed=test.candidate_failed,
            n=test.candidate,
            live_failed=test.live_failed,
            live_n=test.live,
            evidence=format_evidence(test.evidence, test.alarm_at, language),
            alarm_at=locale.decimal(test.alarm_at, 0, language),
        )
    if evidence.classes:
        yield ""
        yield texts["evidence_classes"]
    for label, counts in by_mistakes(evidence.classes)[:_MAX_ROWS]:
        yield texts["evidence_class"].format(label=label_text(label, language), **counts)


def _shadow(evidence: ShadowEvidence, language: Language) -> Iterator[str]:
    texts = locale.bot_texts(language)
    yield texts["evidence_photos"].format(n=evidence.photos, failed=evidence.failed)
    if evidence.agreement:
        same = sum(round(each.share * each.n) for each in evidence.agreement.values())
        agreed = ProportionEstimate.of(same, sum(each.n for each in evidence.agreement.values()))
        yield texts["evidence_agreement"].format(share=_estimate(agreed, language))
    for which, (median, p95) in evidence.milliseconds.items():
        yield texts["evidence_ms"].format(
            which=texts[f"evidence_of_{which}"],
            median=locale.decimal(median, 1, language),
            p95=locale.decimal(p95, 1, language),
        )
    if evidence.milliseconds:
        yield texts["evidence_ms_note"]
    yield from difference_lines(evidence, language)
    for which, right in evidence.right.items():
        yield texts["evidence_right"].format(
            which=texts[f"evidence_of_{which}"], n=right.n, share=_estimate(right, language)
        )
    if evidence.right:
        yield texts["evidence_alone"].format(**evidence.changed_right)
    if evidence.changes:
        yield ""
        yield texts["evidence_changes"]
    for before, after, n in evidence.changes[:_MAX_ROWS]:
        yield f"{answer_text(before, language)} → {answer_text(after, language)}: {n}"


def _signed(value: float, places: int, language: Language) -> str:
    sign = "" if round(value, places) == 0 else "+" if value > 0 else "−"
    return sign + locale.decimal(abs(value), places, language)


def _estimate(estimate: ProportionEstimate, language: Language) -> str:
    """Format a share with its 95% interval."""
    return locale.bot_texts(language)["evidence_interval"].format(
        share=format_share(estimate.share, language),
        low=format_share(estimate.low, language),
        high=format_share(estimate.high, language),
    )
