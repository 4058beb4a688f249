"""Outputs of a model on many images, and its accuracy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.inference.classifier import Classifier
from core.registry.catalog import Catalog
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import bundle_accuracy, run_inference


def test_run_inference_returns_what_predictions_are_made_of(catalog: Catalog, ships: Split) -> None:
    classifier = catalog.load("classic")
    found = run_inference(classifier, list(ships.images), "ships")
    assert found.name == "ships"
    assert found.outputs.embedding.shape[0] == len(ships)
    predictions = classifier.predict_many(list(map(Image.fromarray, ships.images)))
    labels = [classifier.labels[i] for i in found.outputs.logits.argmax(axis=1)]
    assert labels == [each.label for each in predictions]


def test_accuracy_is_measured_with_all_views_or_with_one(catalog: Catalog, ships: Split) -> None:
    bundle = catalog.bundle("classic")
    one_view = bundle.config.model_copy(update={"views": ("identity",)})
    # Strong noise, so that the views disagree on some of the images.
    noise = np.random.default_rng(0).normal(0, 60, ships.images.shape)
    noisy = replace(ships, images=np.clip(ships.images + noise, 0, 255).astype(np.uint8))
    found = []
    for served, only_one in ((bundle, False), (replace(bundle, config=one_view), True)):
        logits = run_inference(Classifier(served, threads=1), noisy.images, "").outputs.logits
        found.append(bundle_accuracy(bundle, noisy, threads=1, one_view=only_one))
        assert found[-1] == pytest.approx(np.mean(logits.argmax(axis=1) == 8))
    assert found[0] != found[1]
