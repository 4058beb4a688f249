from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import string
import sys
import tomllib
import typing
from pathlib import Path

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
        ("known", "de", "Eine Katze (97% sicher)"),
        ("unsure", "de", "Nicht sicher: Katze oder Hund"),
        ("none", "de", "Keins der zehn Dinge, die ich kenne; am ähnlichsten ist eine Katze"),
    ],
)
def test_verdict_is_formatted_in_each_language(
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


def content(language: locale.Language) -> dict[str, dict[str, typing.Any]]:
    return tomllib.loads((ROOT / "core/locale" / f"{language}.toml").read_text("utf-8"))


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_language_has_every_key(language: locale.Language) -> None:
    english, own = content("en"), content(language)
    missing = [
        (table, key) for table in english for key in english[table].keys() - own[table].keys()
    ]
    surplus = [(table, key) for table in own for key in own[table].keys() - english[table].keys()]
    assert (missing, surplus) == ([], [])


@pytest.mark.parametrize("language", locale.LANGUAGES)
@pytest.mark.parametrize("table", ["errors", "page", "bot"])
def test_language_fills_in_the_same_values(language: locale.Language, table: str) -> None:
    def values(text: str) -> set[str | None]:
        return {field for _, field, _, _ in string.Formatter().parse(text)} - {None}

    english, own = content("en")[table], content(language)[table]
    assert {key: values(own[key]) for key in english} == {
        key: values(text) for key, text in english.items()
    }


# Characters that fit where a text stands at 360 pixels; the five actions share one row.
ROOM = {
    **dict.fromkeys(("action_why", "action_compare", "action_right", "action_wrong"), 9),
    "action_share": 9,
    "verdict_waits": 46,
    "examples": 34,
    "model_info": 46,
    **dict.fromkeys(("options", "batch_start", "batch_folder", "feedback_send"), 24),
    "batch_photos": 34,
    **dict.fromkeys(("batch_all", "batch_known", "batch_unsure", "batch_unknown"), 16),
    "batch_failed": 16,
}


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_texts_fit_a_narrow_phone(language: locale.Language) -> None:
    texts = locale.page_texts(language)
    long = {key: texts[key] for key, most in ROOM.items() if len(texts[key]) > most}
    actions = sum(len(texts[key]) for key in ROOM if key.startswith("action_"))
    # A thumbnail is narrow: its name takes two lines, and a word is not to be broken.
    names = [text.split() for key, text in texts.items() if key.startswith("example_")]
    assert long == {}
    assert actions <= 36
    assert max(len(name) for name in names) <= 3
    assert max(len(word) for name in names for word in name) <= 9


@pytest.mark.parametrize(
    ("tag", "language"),
    [("de-AT", "de"), ("NL", "nl"), ("fr", None), ("", None), (None, None), (7, None)],
)
def test_language_of_tag_ignores_the_region(tag: object, language: locale.Language | None) -> None:
    assert locale.language_of_tag(tag) == language


def test_languages_are_the_files_of_the_folder(tmp_path: Path) -> None:
    package = tmp_path / "locale"
    shutil.copytree(ROOT / "core/locale", package, ignore=shutil.ignore_patterns("__pycache__"))
    french = (package / "en.toml").read_text("utf-8").replace('decimal = "."', 'decimal = ";"')
    (package / "fr.toml").write_text(french, "utf-8")
    specification = importlib.util.spec_from_file_location(
        "locale_copy", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert specification is not None
    assert specification.loader is not None
    copy = importlib.util.module_from_spec(specification)
    sys.modules["locale_copy"] = copy
    try:
        specification.loader.exec_module(copy)
        assert copy.LANGUAGES == ("en", "de", "fr", "nl")
        assert copy.decimal(1.5, 1, "fr") == "1;5"
    finally:
        del sys.modules["locale_copy"]


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
