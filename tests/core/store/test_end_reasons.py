"""Reasons for which rollouts end."""

from __future__ import annotations

from core.store.end_reasons import EndReason


def test_reason_is_an_english_sentence() -> None:
    assert str(EndReason("made_live", {"revision": "1" * 12})) == "111111111111 was made live"


def test_unknown_end_reason_is_shown_as_its_code() -> None:
    assert str(EndReason("tired", {"n": 1})) == "tired"
