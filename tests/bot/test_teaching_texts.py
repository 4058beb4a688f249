"""Replies about teaching."""

from __future__ import annotations

import pytest

from bot.teaching_texts import report_text
from core import locale
from core.bundle.metrics import ProportionEstimate
from core.locale import Language
from core.teaching.report import DoubtfulPhoto, TeachingReport


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_report_says_what_to_do_about_photos_with_a_wrong_name(language: Language) -> None:
    report = TeachingReport(
        classes=("cat", "dog"),
        photos=(4, 4),
        accuracy=ProportionEstimate.of(7, 8),
        recall=(),
        confusion=((3, 1), (0, 4)),
        doubtful=(DoubtfulPhoto("cat 3", "cat", "dog", 0.95),),
        weak=(),
    )
    lines = report_text("Pets", report, {"cat 3"}, language).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("cat 3"))
    assert "/teach more" in lines[place + 1]
