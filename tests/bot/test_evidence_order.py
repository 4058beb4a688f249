"""Order of the classes in texts and charts of a rollout's evidence."""

from __future__ import annotations

from bot.evidence_order import by_disagreement, by_mistakes
from core.bundle.metrics import ProportionEstimate


def counts(wrong: int, n: int, live_wrong: int, live_n: int) -> dict[str, int]:
    return {"candidate": n, "candidate_wrong": wrong, "live": live_n, "live_wrong": live_wrong}


def test_class_that_is_clearly_worse_comes_before_one_with_few_photos() -> None:
    classes = {
        "one photo": counts(1, 1, 0, 1),
        "few": counts(4, 4, 0, 30),
        "better": counts(1, 50, 10, 50),
        "same": counts(40, 400, 40, 400),
        "worse": counts(15, 30, 20, 150),
    }
    order = [label for label, _ in by_mistakes(classes)]
    assert order == ["worse", "same", "better", "few", "one photo"]


def test_class_with_most_certain_disagreement_comes_first() -> None:
    agreement = {
        "one photo": ProportionEstimate.of(0, 1),
        "ten": ProportionEstimate.of(5, 10),
        "hundred": ProportionEstimate.of(50, 100),
        "agrees": ProportionEstimate.of(99, 100),
    }
    order = [label for label, _ in by_disagreement(agreement)]
    assert order == ["hundred", "ten", "agrees", "one photo"]
