"""Evaluation on a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.bundle.folder import Bundle, find_bundles
from core.errors import DataError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.evaluation.evaluate import evaluate_split
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import evaluate
from tests.support import made


def test_evaluate_gives_the_same_metrics_again(made_models: Path, tmp_path: Path) -> None:
    (folder,) = find_bundles(made_models)
    before = Bundle.open(folder)
    figures = before.metrics()
    settings = Settings(models=made_models)
    after = evaluate(
        before, EvaluationData.load(made.dataset(), settings), settings, command="again"
    )
    ours, theirs = before.config, after.config
    assert ours.model_copy(update={"sha256": {}}) == theirs.model_copy(update={"sha256": {}})
    metrics, old = after.metrics(), figures
    assert metrics.origin.command == "again"
    assert (metrics.test, metrics.validation) == (old.test, old.validation)
    assert (metrics.curves, metrics.parameters) == (old.curves, old.parameters)
    other = replace(made.dataset(), name="CIFAR-10", labels=("cat", "dog", "sky"))
    with pytest.raises(
        DataError, match=r"The model shapes has the labels red square, .*; CIFAR-10 has"
    ):
        evaluate(
            after,
            replace(EvaluationData.load(made.dataset(), settings), dataset=other),
            settings,
            command="",
        )


def test_evaluate_split_matches_single_predictions(made_models: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    split = made.dataset().test
    figures = evaluate_split(classifier, split, "Shapes test")
    answers = [
        made.LABELS.index(classifier.predict(Image.fromarray(image)).label)
        for image in split.images
    ]
    right = np.asarray(answers) == split.labels
    assert figures.accuracy == pytest.approx(right.mean())
    for i, each in enumerate(figures.classes):
        assert each.support == 50
        assert each.recall == pytest.approx(right[split.labels == i].mean())
        assert figures.confusion[i][i] == right[split.labels == i].sum()
