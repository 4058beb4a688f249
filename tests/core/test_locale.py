from __future__ import annotations

import dataclasses
import typing

import pytest

from core import locale
from core.errors import BusyError, ImageError, ImageErrorCode, TrainingError
from core.inference.prediction import Prediction, Timing
from tests.conftest import ROOT

CAT = Prediction(
    photo=None,
    model="classic",
    revision="0" * 12,
    label="cat",
    confidence=0.97,
    verdict="known",
    known_score=0.97,
    scores={"cat": 0.97, "dog": 0.02} | dict.fromkeys("abcdefgh", 0.00125),
    timing_ms=Timing(1.0, 1.0),
)


@pytest.mark.parametrize(
    ("verdict", "language", "expected"),
    [
        ("known", "en", "A cat (97% sure)"),
        ("unsure", "en", "Not sure: cat or dog"),
        ("none", "en", "None of the ten things I know; closest is a cat"),
        ("known", "nl", "Een kat (97% zeker)"),
        ("unsure", "nl", "Niet zeker: kat of hond"),
        ("none", "nl", "Geen van de tien dingen die ik ken; het lijkt nog het meest op een kat"),
    ],
)
def test_verdict_is_formatted_in_both_languages(
    verdict: typing.Literal["known", "unsure", "none"], language: locale.Language, expected: str
) -> None:
    answer = dataclasses.replace(CAT, verdict=verdict)
    assert locale.format_verdict(answer, language) == expected


def test_label_without_translation_is_unchanged() -> None:
    scores = {f"tulip {i}": 1 / 40 for i in range(40)}
    answer = dataclasses.replace(CAT, label="tulip 0", scores=scores, verdict="none")
    assert locale.format_verdict(answer) == "None of the 40 things I know; closest is tulip 0"
    known = dataclasses.replace(answer, verdict="known")
    assert locale.format_verdict(known, "nl") == "Tulip 0 (97% zeker)"


def test_percent_never_shows_certainty() -> None:
    assert [locale.percent(c) for c in (0.994, 0.995, 1.0)] == ["99%", ">99%", ">99%"]


def test_languages_have_the_same_keys() -> None:
    tables = [locale._table(language) for language in locale.LANGUAGES]
    for field in dataclasses.fields(tables[0]):
        keys = [set(getattr(table, field.name)) for table in tables]
        assert keys[0] == keys[1], field.name


def test_image_errors_have_a_text_each() -> None:
    for language in locale.LANGUAGES:
        codes = {*typing.get_args(ImageErrorCode), "busy", "deadline", "not_readable", "predictor"}
        assert codes <= set(locale._table(language).errors)
        words = {locale.format_error(ImageError(code, ""), language) for code in codes}
        assert len(words) == len(codes)
        assert "7 s" in locale.format_error(BusyError(7), language)
        assert (
            locale.format_error(TrainingError("x"), language)
            == locale._table(language).errors["other"]
        )


def test_text_files_are_those_of_the_languages() -> None:
    assert sorted(p.stem for p in (ROOT / "core/locale").glob("*.toml")) == sorted(locale.LANGUAGES)
