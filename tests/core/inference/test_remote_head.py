"""The head of a taught model whose base runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.inference.embedding import Embedding
from core.inference.prediction import Timing
from core.inference.remote_head import HeadClassifier
from tests.conftest import ROOT
from tests.support.taught import write_taught

TIMING = Timing(decode=1.0, infer=2.0)


@pytest.fixture
def taught(tmp_path: Path) -> Bundle:
    return write_taught(tmp_path / "shapes", Bundle.open(ROOT / "models" / "classic"))


def test_head_answers_as_the_classifier_with_its_base(taught: Bundle, ship: Image.Image) -> None:
    base = Backbone.load(Bundle.open(ROOT / "models" / "classic"), threads=1)
    classifier = Classifier(base.bundle, threads=1, backbone=base)
    (vector,) = classifier.embed([classifier.preprocess(ship).crops])
    embedding = Embedding("classic", classifier.revision, vector, None, TIMING)
    found = HeadClassifier(taught).classify(embedding, "ship.jpg")
    expected = Classifier(taught, threads=1, backbone=base).predict(ship)
    assert (found.photo, found.label, found.verdict) == (
        "ship.jpg",
        expected.label,
        expected.verdict,
    )
    assert found.known_score == pytest.approx(expected.known_score, abs=1e-5)
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)
    assert (found.timing_ms, found.saliency) == (TIMING, None)


def test_embedding_of_another_length_is_refused(taught: Bundle) -> None:
    embedding = Embedding("other", "0" * 12, np.zeros(7, np.float32), None, TIMING)
    with pytest.raises(BundleError):
        HeadClassifier(taught).classify(embedding, None)
