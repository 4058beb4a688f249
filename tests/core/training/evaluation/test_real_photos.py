"""Metrics on real photos."""

from __future__ import annotations

import numpy as np

from core.registry.catalog import Catalog
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.real_photos import photo_metrics, predict_photos


def test_folder_without_held_out_kinds_is_measured(catalog: Catalog) -> None:
    images = tuple(np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), np.uint8))
    labels = np.asarray([0, 0, 1, 1, 10, 10])
    words = np.asarray(["airplane", "airplane", "automobile", "automobile", "cow", "cow"])
    photos = RealPhotos(images, labels, words, np.full(6, "me/photos"), words)
    classifier = catalog.load("classic")
    nothing = predict_photos(classifier, photos.select(np.zeros(6, bool)))
    metrics = photo_metrics(
        predict_photos(classifier, photos), nothing, CIFAR10_LABELS, "six photos"
    )
    assert (metrics.accuracy.n, metrics.n_none, metrics.n_kept_back) == (4, 2, 0)
    assert metrics.auroc is not None
    assert metrics.auroc_kept_back is None
    assert metrics.rejected_kept_back is None
