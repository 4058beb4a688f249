"""Sentences of the digest."""

from __future__ import annotations

import pytest

from bot.digest_text import digest_text
from core import locale
from tests.support.digests import sample_digest


@pytest.mark.parametrize(
    ("language", "parts"),
    [
        ("en", ("Response time, p95: 2.0", "Judged right, of 10: 80% (49–94%)", "5.0 of 20 GB")),
        ("nl", ("Antwoordtijd, p95: 2,0", "Goed beoordeeld, van 10: 80%", "5,0 van 20 GB")),
        ("de", ("Antwortzeit, p95: 2,0", "Richtig, von 10 beurteilten: 80%", "5,0 von 20 GB")),
    ],
)
def test_digest_is_written_in_the_language_of_the_chat(
    language: locale.Language, parts: tuple[str, ...]
) -> None:
    text = digest_text(sample_digest(), language)
    for part in (*parts, "classic 111111111111", "anary 222222222222"):
        assert part in text
    assert "2026-05-03 10:30" in text
