"""Data and recipes that tests make: three kinds of coloured shapes, learned in a few steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.training.data import Dataset, Split
from core.training.fit import Epoch
from core.training.recipes import Recipe, get_recipe

LABELS = ("red square", "green bar", "blue sky")


def dataset(train: int = 600, test: int = 150) -> Dataset:
    """Images of a red square, a green bar or blue all over, each on noise."""
    return Dataset("Shapes", LABELS, None, _split(train, 1), _split(test, 2))


def recipe(**changes: object) -> Recipe:
    """`baseline`, as short as it can be."""
    short: dict[str, object] = {"epochs": 3, "patience": 3, "batch_size": 50}
    # The type checker cannot match names and types of a dict with those of the fields.
    return replace(get_recipe("baseline"), **(short | changes))  # type: ignore[arg-type]


def like(name: str, **changes: object) -> Recipe:
    """A recipe of the project's own, changed."""
    return replace(get_recipe(name), **changes)  # type: ignore[arg-type]  # as above


def _split(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (n, 32, 32, 3), np.uint8)
    labels = np.arange(n, dtype=np.int64) % 3
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(0, 16, 2)
        match label:
            case 0:
                image[y : y + 14, x : x + 14, 0] = 255
            case 1:
                image[y : y + 6, :, 1] = 255
            case _:
                image[..., 2] = rng.integers(180, 256, (32, 32))
    return Split(images, labels, np.arange(n))


class Recorder:
    """A reporter that remembers, and can stop a run as a person with Ctrl-C would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs: list[Epoch] = []
        self.batches: list[tuple[int, int, int]] = []
        self._stop_after = stop_after

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        self.batches.append((epoch, done, total))
        if self._stop_after is not None and epoch > self._stop_after:
            raise KeyboardInterrupt

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        self.epochs.append(epoch)
