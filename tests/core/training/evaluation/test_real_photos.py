"""Metrics on real photos."""

from __future__ import annotations

import numpy as np

from core.registry.catalog import Catalog
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.real_photos import (
    PhotoPredictions,
    photo_metrics,
    predict_photos,
)


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


def test_rejection_is_reported_only_for_kinds_with_five_photos() -> None:
    def predictions(label: int, *kinds: tuple[str, int]) -> PhotoPredictions:
        words = np.asarray([kind for kind, n in kinds for _ in range(n)])
        n = len(words)
        labels = np.full(n, label)
        image = np.zeros((2, 2, 3), np.uint8)
        photos = RealPhotos((image,) * n, labels, words, np.full(n, "me/photos"), words)
        return PhotoPredictions(photos, np.zeros(n, np.int64), np.arange(n, dtype=np.float64))

    known, none = predictions(0, ("airplane", 20)), predictions(10, ("cow", 5), ("wolf", 4))
    photos = known.photos.concat(none.photos)
    scores = np.concatenate([known.scores, none.scores])
    both = PhotoPredictions(photos, np.zeros(len(photos), np.int64), scores)
    kept_back = predictions(10, ("panda", 4), ("snake", 6))
    metrics = photo_metrics(both, kept_back, CIFAR10_LABELS, "made up")
    assert {kind: each.n for kind, each in metrics.rejected_kinds.items()} == {"cow": 5}
    assert {kind: each.n for kind, each in metrics.rejected_kept_back_kinds.items()} == {"snake": 6}
    assert metrics.n_kept_back == 10, "all of them count in the total"
