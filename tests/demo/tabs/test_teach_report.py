"""Sentences of the Teach tab."""

from __future__ import annotations

import typing

import pytest

from core import locale
from core.errors import TeachingError, TeachingReason
from demo.tabs.teach_report import format_teaching_error, refusal_of


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_every_refusal_has_a_sentence_in_each_language(language: locale.Language) -> None:
    for reason in typing.get_args(TeachingReason):
        error = TeachingError(reason, "", "<circle>", "square", "1. photo.jpg")
        assert "{" not in format_teaching_error(error, language)
        assert "<circle>" not in refusal_of(error, language)
