"""Chart of the evidence about a rollout, with localised texts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bot.evidence_order import by_disagreement, by_mistakes, is_tiny
from bot.evidence_text import (
    answer_text,
    difference_lines,
    format_evidence,
    format_share,
    label_text,
)
from core import locale
from core.bundle.metrics import ProportionEstimate
from core.charts.chart import Bar, Chart, Panel, Row
from core.locale import Language
from core.rollout.evidence import CanaryEvidence, ShadowEvidence
from core.store.rollouts import Rollout

__all__ = ["evidence_chart"]

# Telegram scales pictures down that are much higher than wide.
_MAX_ROWS = 5
_WHICH = ("candidate", "live")


def evidence_chart(
    rollout: Rollout, evidence: CanaryEvidence | ShadowEvidence, language: Language
) -> Chart | None:
    """Build the chart of the evidence about a rollout.

    Args:
        rollout: The rollout.
        evidence: The evidence about it.
        language: Language of the texts.

    Returns:
        None where there is nothing to draw yet.
    """
    texts = locale.bot_texts(language)
    notes: tuple[str, ...] = ()
    if isinstance(evidence, CanaryEvidence):
        panels = list(_canary(evidence, language))
    else:
        panels = list(_shadow(evidence, language))
        notes = tuple(difference_lines(evidence, language))
    if not panels:
        return None
    return Chart(
        title=f"{rollout.model}: {rollout.candidate}",
        series=tuple(texts[f"evidence_of_{which}"] for which in _WHICH),
        panels=tuple(panels),
        notes=notes,
    )


def _canary(evidence: CanaryEvidence, language: Language) -> Iterator[Panel]:
    texts = locale.bot_texts(language)
    tests = [each for each in evidence.tests if each.candidate or each.live]
    if not tests:
        return
    shares = [
        Row(
            name=texts[f"chart_{each.test}"],
            bars=(
                _proportion(each.candidate_failed, each.candidate, language),
                _proportion(each.live_failed, each.live, language),
            ),
        )
        for each in tests
    ]
    yield Panel(title=texts["chart_failures"], rows=tuple(shares))
    yield Panel(
        title=texts["chart_evidence"],
        end=1.0,
        rows=tuple(
            Row(
                name=texts[f"chart_{each.test}"],
                bars=(
                    Bar(
                        # Evidence is multiplied with every photo, so its logarithm grows evenly.
                        value=min(max(math.log(each.evidence) / math.log(each.alarm_at), 0), 1),
                        text=texts["chart_of"].format(
                            value=format_evidence(each.evidence, each.alarm_at, language),
                            limit=locale.decimal(each.alarm_at, 0, language),
                        ),
                    ),
                    None,
                ),
            )
            for each in tests
        ),
    )
    worst = by_mistakes(evidence.classes)
    if worst:
        yield Panel(
            title=texts["chart_classes"],
            rows=tuple(
                Row(
                    name=label_text(label, language),
                    bars=tuple(
                        _proportion(counts[f"{which}_wrong"], counts[which], language)
                        for which in _WHICH
                    ),
                )
                for label, counts in worst[:_MAX_ROWS]
            ),
        )


def _shadow(evidence: ShadowEvidence, language: Language) -> Iterator[Panel]:
    texts = locale.bot_texts(language)
    least = by_disagreement(evidence.agreement)[:_MAX_ROWS]
    if least:
        rows = (
            Row(name=label_text(label, language), bars=(_estimate(each, language), None))
            for label, each in least
        )
        yield Panel(title=texts["chart_agreement"], rows=tuple(rows))
    if evidence.changes:
        changes = (
            Row(
                name=f"{answer_text(before, language)} →\n{answer_text(after, language)}",
                bars=(Bar(value=n, text=str(n)), None),
            )
            for before, after, n in evidence.changes[:_MAX_ROWS]
        )
        yield Panel(title=texts["chart_changes"], rows=tuple(changes))
    if evidence.milliseconds:
        yield Panel(
            title=texts["chart_ms"],
            rows=tuple(
                Row(
                    name=texts[key],
                    bars=tuple(
                        Bar(value=ms, text=f"{locale.decimal(ms, 1, language)} ms")
                        for ms in (evidence.milliseconds[which][i] for which in _WHICH)
                    ),
                )
                for i, key in enumerate(("chart_median", "chart_p95"))
            ),
        )
    if evidence.right:
        bars = tuple(_estimate(evidence.right[which], language) for which in _WHICH)
        title = texts["chart_right"].format(n=evidence.judged)
        yield Panel(title=title, rows=(Row(name=texts["chart_all"], bars=bars),))


def _proportion(hits: int, n: int, language: Language) -> Bar | None:
    return _estimate(ProportionEstimate.of(hits, n), language) if n else None


def _estimate(estimate: ProportionEstimate, language: Language) -> Bar:
    return Bar(
        value=estimate.share,
        text=f"{format_share(estimate.share, language)} "
        f"(n={locale.decimal(estimate.n, 0, language)})",
        low=estimate.low,
        high=estimate.high,
        is_muted=is_tiny(estimate.n),
    )
