"""Contact sheets of misclassified images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import OutputError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.evaluation.evaluate import evaluate_split
from core.training.evaluation.mistakes import draw_contact_sheets
from tests.support import made


def test_contact_sheets_show_mistakes_and_confusions(models: Path, tmp_path: Path) -> None:
    classifier = Catalog(Settings(models=models)).load("shapes")
    split = made.dataset().test
    # Ten of each class are called another, so that there is something to draw.
    wrong = replace(split, labels=np.where(split.rows < 30, (split.labels + 1) % 3, split.labels))
    # Row numbers are those of the longer split that this one was cut from.
    wrong = replace(wrong, rows=wrong.rows + 1000)
    images = dict(zip(wrong.rows.tolist(), map(Image.fromarray, wrong.images), strict=True))
    names = [classifier.labels[label] for label in wrong.labels]
    wrong_labels = dict(zip(wrong.rows.tolist(), names, strict=True))
    metrics = evaluate_split(classifier, wrong, "Shapes")
    files = draw_contact_sheets(classifier, metrics, wrong, tmp_path / "new" / "pictures")
    assert [file.name for file in files] == ["shapes-mistakes.png", "shapes-confusions.png"]
    for file in files:
        with Image.open(file) as picture:
            assert min(picture.size) > 200
    assert metrics.mistakes
    for mistake in metrics.mistakes:
        assert mistake.label != mistake.answer == classifier.predict(images[mistake.row]).label
        assert mistake.label == wrong_labels[mistake.row]
    sure = [mistake.confidence for mistake in metrics.mistakes]
    assert sure == sorted(sure, reverse=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Choose another folder"):
        draw_contact_sheets(classifier, metrics, wrong, tmp_path / "file")
