from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from bot.evidence_text import (
    answer_text,
    evidence_text,
    format_evidence,
    format_share,
    reason_text,
)
from core import locale
from core.locale import Language
from core.rollout.evidence import CanaryEvidence, ShadowEvidence, TestEvidence
from core.store.end_reasons import REASON_CODES, EndReason
from core.store.rollouts import Rollout


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0%"),
        (0.0004, "0.04%"),
        (0.004, "0.4%"),
        (0.1, "10%"),
        (0.9996, "99.96%"),
        (1.0, "100%"),
    ],
)
def test_share_is_not_rounded_to_nothing_or_everything(share: float, shown: str) -> None:
    assert format_share(share, "en") == shown


def test_unsure_answers_are_named_in_the_language() -> None:
    assert answer_text("cat (unsure)", "de") == "Katze (unsicher)"
    assert answer_text("none", "en") == "None of these"


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_milliseconds_of_a_shadow_are_explained(language: Language) -> None:
    rollout = Rollout(1, "a", "shadow", "new", "old", 1.0, 9.0, datetime.now(UTC))
    milliseconds = {"live": (2.0, 3.0), "candidate": (4.0, 9.0)}
    found = ShadowEvidence(3, 0, {}, [], milliseconds, 0, {}, {})
    note = locale.bot_texts(language)["evidence_ms_note"]
    assert note in evidence_text(rollout, found, language)
    without = ShadowEvidence(0, 0, {}, [], {}, 0, {}, {})
    assert note not in evidence_text(rollout, without, language)


@pytest.mark.parametrize(
    ("evidence", "shown"),
    [(1e-304, "< 0.1"), (0.4, "0.4"), (99.96, "100.0"), (999.0, "999.0"), (1e304, "> 1,000")],
)
def test_evidence_is_short_however_large_or_small_it_is(evidence: float, shown: str) -> None:
    assert format_evidence(evidence, 100.0, "en") == shown


NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ENDED = Rollout(1, "a", "shadow", "new", "old", 1.0, 9.0, NOW, NOW, "stopped", "by hand")


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_reason_of_an_end_is_in_the_language(language: Language) -> None:
    found = ShadowEvidence(0, 0, {}, [], {}, 0, {}, {})
    worded = {"en": "(by hand)", "nl": "(handmatig)", "de": "(von Hand)"}
    text = evidence_text(replace(ENDED, cause=EndReason("by_hand")), found, language)
    assert worded[language] in text
    assert "(by hand)" in evidence_text(ENDED, found, language), "an earlier version ended it"


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_each_reason_has_a_text_in_each_language(language: Language) -> None:
    texts = locale.bot_texts(language)
    assert {f"reason_{code}" for code in REASON_CODES} == {
        key for key in texts if key.startswith("reason_")
    }


def test_reason_of_a_newer_version_is_shown_in_english() -> None:
    assert reason_text(EndReason("tired", {"n": 1}), "it was tired", "nl") == "it was tired"


@pytest.mark.parametrize("language", locale.LANGUAGES)
@pytest.mark.parametrize("kind", ["shadow", "canary"])
def test_evidence_without_answers_is_explained_after_some_minutes(
    language: Language, kind: Literal["shadow", "canary"]
) -> None:
    def evidence(n: int) -> CanaryEvidence | ShadowEvidence:
        if kind == "shadow":
            return ShadowEvidence(0, n, {}, [], {}, 0, {}, {})
        return CanaryEvidence((TestEvidence("errors", n, 0, n, 0, 1.0, 100.0),), {})

    def text(minutes: int, n: int, ended_at: datetime | None = None) -> str:
        began_at = datetime.now(UTC) - timedelta(minutes=minutes)
        rollout = replace(ENDED, kind=kind, began_at=began_at, ended_at=ended_at)
        return evidence_text(rollout, evidence(n), language)

    told = locale.bot_texts(language)["evidence_unanswered"]
    assert "tensight models pull" in told
    assert told in text(6, 0)
    assert told not in text(4, 0)
    assert told not in text(6, 1)
    assert told not in text(6, 0, NOW)


def test_differences_of_a_shadow_are_in_the_text() -> None:
    differences = {"confidence": (0.004, -0.0312, 0.1), "known_score": (-0.004, -1.5, 0.25)}
    found = ShadowEvidence(3, 0, {}, [], {}, 0, {}, {}, differences)
    lines = evidence_text(ENDED, found, "en").splitlines()
    for line in (
        "Confidence, candidate minus live: median +0.4 points (90%: −3.1 to +10.0)",
        "Known score, candidate minus live: median 0.00 (90%: −1.50 to +0.25)",
    ):
        assert line in lines
    assert "Sicherheit, Kandidat minus live: Median +0,4 Punkte" in evidence_text(
        ENDED, found, "de"
    )
