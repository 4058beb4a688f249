"""The grid pointing game."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from core.inference.classifier import Classifier
from core.inference.engine import Outputs
from core.photos.preprocess import InputSpec
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.pointing_game import (
    CHANCE,
    localisation,
    make_grids,
    measure_pointing,
)
from core.training.evaluation.real_photos import PhotoPredictions

CLASSES = 5
SPEC = InputSpec(
    height=16,
    width=16,
    resize="squash",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


class Config:
    """The part of a configuration that the game reads."""

    input = SPEC


class ColourClassifier:
    """A classifier that knows each class by its grey level, and marks where that level is."""

    config = Config()

    def __init__(self, *, blind: bool = False) -> None:
        self._blind = blind

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        shares = [
            [np.mean(image[..., 0] == level(label)) for label in range(CLASSES)] for image in images
        ]
        # The first of several equally large classes is the predicted one.
        logits = np.asarray(shares, np.float32)
        return Outputs(logits, logits)

    def saliency(self, image: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        found = (image[..., 0] == level(label)).astype(np.float32)
        return np.ones_like(found) if self._blind else found


def level(label: int) -> int:
    return 40 * label + 20


@pytest.fixture
def predictions() -> PhotoPredictions:
    labels = np.repeat(np.arange(CLASSES), 3)
    images = tuple(np.full((20, 30, 3), level(int(label)), np.uint8) for label in labels)
    words = np.full(len(labels), "x")
    confidences = np.full(len(labels), 0.95)
    predicted = labels.copy()
    # Of the last class one photo is misclassified, one is uncertain.
    predicted[-1], confidences[-2] = 0, 0.5
    return PhotoPredictions(
        RealPhotos(images, labels, words, words, words),
        predicted,
        np.zeros(len(labels)),
        confidences,
    )


def test_grids_hold_four_classes_that_the_model_is_sure_of(predictions: PhotoPredictions) -> None:
    grids = make_grids(predictions, SPEC, 50, seed=0)
    assert len(grids) == 50
    for grid in grids:
        assert len(set(grid.labels)) == 4
        assert grid.image.shape == (16, 16, 3)
        corners = grid.image[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        assert corners.tolist() == [level(label) for label in grid.labels]


def test_same_seed_draws_the_same_grids(predictions: PhotoPredictions) -> None:
    first, second = (make_grids(predictions, SPEC, 5, seed=3) for _ in range(2))
    assert [grid.labels for grid in first] == [grid.labels for grid in second]
    assert [grid.labels for grid in first] != [
        grid.labels for grid in make_grids(predictions, SPEC, 5, seed=4)
    ]


def test_localisation_is_the_fraction_inside_the_cell() -> None:
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 3], evidence[3, 3] = 3, 1
    assert [localisation(evidence, cell) for cell in range(4)] == [0, 0.75, 0, 0.25]
    assert localisation(np.zeros((4, 4), np.float32), 0) == 0
    assert localisation(np.ones((5, 5), np.float32), 0) == 4 / 25


def test_pointing_game_scores_object_maps_one_and_uniform_maps_chance(
    predictions: PhotoPredictions,
) -> None:
    good = measure_pointing(cast(Classifier, ColourClassifier()), predictions, "photos", n=20)
    even = measure_pointing(
        cast(Classifier, ColourClassifier(blind=True)),
        predictions,
        "photos",
        n=20,
        gradient=lambda image, label: np.ones(image.shape[:2], np.float32),
    )
    assert good is not None
    assert even is not None
    assert (good.n, good.mean, good.low, good.high) == (20, 1, 1, 1)
    assert good.input_gradient is None
    assert even.mean == even.input_gradient == CHANCE


def test_fewer_than_four_classes_give_no_result(predictions: PhotoPredictions) -> None:
    few = predictions.photos.select(predictions.photos.labels < 3)
    rows = predictions.photos.labels < 3
    assert predictions.confidences is not None
    some = PhotoPredictions(
        few, predictions.labels[rows], predictions.scores[rows], predictions.confidences[rows]
    )
    assert measure_pointing(cast(Classifier, ColourClassifier()), some, "photos") is None
