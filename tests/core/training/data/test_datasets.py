"""Splitting train rows."""

from __future__ import annotations

import numpy as np

from core.training.data.datasets import Split, hold_out


def labels(n: int) -> np.ndarray:
    return np.arange(n) % 10


def test_held_out_rows_are_stratified_and_fixed() -> None:
    images = np.zeros((50_000, 1, 1, 3), np.uint8)
    split = Split(images, labels(50_000), np.arange(50_000))
    learn, validation = hold_out(split)
    assert (len(learn), len(validation)) == (45_000, 5_000)
    assert not set(learn.rows) & set(validation.rows)
    assert np.bincount(validation.labels).tolist() == [500] * 10
    assert validation.rows[:5].tolist() == [0, 43, 46, 107, 111]
