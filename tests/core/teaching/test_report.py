"""Reports on taught models."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import TeachingError
from core.teaching.collect import SkippedPhoto
from core.teaching.learning import LearnedHead
from core.teaching.report import check_distinguishable, evaluate_head
from core.teaching.stored_examples import StoredExamples

FEATURES = 20


def examples(*groups: np.ndarray) -> StoredExamples:
    """Return stored examples of one class for each group of embeddings, shape (n, d)."""
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    n = len(labels)
    return StoredExamples(
        tuple("abcdef"[: len(groups)]),
        np.concatenate(groups)[:, None].astype(np.float16),
        labels,
        np.zeros((n, 16), np.uint8),
        np.arange(16 * n, dtype=np.uint8).reshape(n, 16),
        "0" * 64,
    )


def scattered(n: int, seed: int, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=FEATURES) + noise * rng.normal(size=(n, FEATURES)))


def learned(probabilities: list[list[float]], known: list[float] | None = None) -> LearnedHead:
    scores = known or [1.0] * len(probabilities)
    return LearnedHead(b"", 1.0, 0.5, np.asarray(probabilities), np.asarray(scores))


def test_report_has_interval_confusion_and_doubtful_photos() -> None:
    right, wrong = [0.98, 0.02], [0.05, 0.95]
    given = examples(scattered(5, 1), scattered(5, 2))
    findings = evaluate_head(
        given,
        learned([right] * 4 + [wrong] + [[p, 1 - p] for p in (0.1, 0.2, 0.3, 0.1, 0.6)]),
        names=[f"{i}.jpg" for i in range(10)],
        skipped=[SkippedPhoto("x.txt", "no photo")],
        duplicates=2,
    )
    report = findings.report
    assert report.confusion == ((4, 1), (1, 4))
    assert (report.accuracy.n, report.accuracy.share) == (10, 0.8)
    assert 0.4 < report.accuracy.low < 0.8 < report.accuracy.high < 1
    (doubtful,) = report.doubtful
    assert (doubtful.name, doubtful.label, doubtful.looks_like) == ("4.jpg", "a", "b")
    assert report.weak == ("a", "b"), "four of five are right"
    assert report.to_dict()["photos"] == {"a": 5, "b": 5}
    assert report.to_dict()["skipped"] == [{"name": "x.txt", "reason": "no photo"}]
    assert findings.split.confusion == report.confusion
    assert findings.split.mistakes[0].row == 4
    assert findings.taught.doubtful == 1


def test_verdict_none_is_counted() -> None:
    given = examples(scattered(3, 1), scattered(3, 2))
    findings = evaluate_head(
        given, learned([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3, [0.9, 0.9, 0.1, 0.9, 0.9, 0.9])
    )
    assert findings.split.verdicts == {"known": 5, "unsure": 0, "none": 1}
    assert findings.taught.none.share == pytest.approx(1 / 6)
    assert findings.unsure_below == 0.9


def test_few_photos_count_as_too_few_to_be_sure() -> None:
    given = examples(scattered(4, 1), scattered(9, 2))
    probabilities = [[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 9
    assert evaluate_head(given, learned(probabilities)).report.weak == ("a",)


def test_alike_photos_of_a_class_are_refused() -> None:
    with pytest.raises(TeachingError, match="All photos of 'b' look the same") as told:
        check_distinguishable(examples(scattered(3, 1), scattered(3, 2, noise=1e-3)))
    assert (told.value.reason, told.value.names) == ("alike", ("b",))


def test_class_that_copies_another_is_refused() -> None:
    first = scattered(4, 1)
    with pytest.raises(TeachingError, match="'a' and 'c' look the same") as told:
        check_distinguishable(examples(first, scattered(4, 2), first[::-1] + 1e-3))
    assert told.value.reason == "copy"


def test_different_photos_are_accepted() -> None:
    check_distinguishable(examples(scattered(4, 1), scattered(4, 2)))
