"""Sentences of the alarm about drift."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bot.drift_text import drift_text
from bot.evidence_text import format_share
from core import locale
from core.rollout.drift_report import drift_reports
from core.rollout.drift_samples import DriftSample
from tests.support.drift import DRIFTED, REVISION, USUAL, drift_report
from tests.support.rollouts import MODEL


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_alarm_of_many_revisions_fits_below_a_picture(language: locale.Language) -> None:
    many = [replace(drift_report(), model=f"{'m' * 60}{i}") for i in range(9)]
    text = drift_text(many, language)
    assert len(text) <= 1024
    for i in range(5):
        assert f"m{i} {REVISION}" in text
    assert f"m5 {REVISION}" not in text
    more = locale.bot_texts(language)["drift_others_more"].format(others="", n=4)
    assert more.split(": ")[1] in text


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_alarm_names_the_difference_from_validation(language: locale.Language) -> None:
    texts = locale.bot_texts(language)
    (found,) = drift_reports([DriftSample(MODEL, REVISION, DRIFTED, USUAL, USUAL)])
    moved = [
        texts["drift_moved"].format(
            statistic=texts[f"drift_{name}"], change=format_share(difference.change, language)
        )
        for name, difference in found.validation.items()
    ]
    assert len(moved) == 2
    line = texts["drift_validation"].format(differences=", ".join(moved))
    assert line in drift_text([found], language).splitlines()
    few = replace(DRIFTED, labels=Counter(cat=9), confidences=Counter({"0.933": 9}))
    (found,) = drift_reports([DriftSample(MODEL, REVISION, DRIFTED, USUAL, few)])
    assert texts["drift_validation"].split("{")[0] not in drift_text([found], language)


def test_alarm_names_the_class_that_became_frequent() -> None:
    more_cats = replace(USUAL, labels=Counter(cat=700, dog=100, ship=100, none=50))
    (found,) = drift_reports([DriftSample(MODEL, REVISION, more_cats, USUAL, None)])
    text = drift_text([found], "en")
    assert locale.bot_texts("en")["drift_look_labels"].format(most="cat") in text
    assert "30% before, 73.7% now" in text


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_alarm_names_the_change_and_what_to_check(language: locale.Language) -> None:
    words, text = locale.bot_texts(language), drift_text([drift_report()], language)
    assert len(text) <= 1024, "a caption"
    for name in ("labels", "known_scores", "confidences"):
        assert words[f"drift_{name}"] in text
    none = words["none_of_these"]
    decimal = locale.decimal(13.3, 1, language)
    moved = words["drift_difference"].format(
        statistic=words["drift_labels"],
        change=f"{locale.decimal(61.7, 1, language)}%",
        n=400,
        most=none,
        before=f"{decimal}%",
        now="75%",
    )
    assert moved in text
    assert words["drift_look_none"] in text
    assert words["drift_look_known_scores_lower"] in text
    assert words["drift_look_confidences_lower"] in text
