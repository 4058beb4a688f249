"""Classifiers of taught models: a head on the engine of their base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.bundle.config import CONFIG, Config
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.inference.head import read_head
from tests.conftest import ROOT
from tests.support.taught import LABELS, write_taught


@pytest.fixture(scope="module")
def classic() -> Backbone:
    return Backbone.load(Bundle.open(ROOT / "models" / "classic"), threads=1)


@pytest.fixture
def taught(classic: Backbone, tmp_path: Path) -> Bundle:
    return write_taught(tmp_path / "shapes", classic.bundle)


def test_taught_model_classifies_with_the_engine_of_its_base(
    classic: Backbone, taught: Bundle, ship: Image.Image
) -> None:
    classifier = Classifier(taught, threads=1, backbone=classic)
    assert classifier.backbone is classic
    prediction = classifier.predict(ship)
    base = Classifier(classic.bundle, threads=1, backbone=classic)
    embedding = base.embed([base.preprocess(ship).crops])
    head = read_head(taught.read("head.npz"), classic.engine.features, len(LABELS))
    logits = head.logits(embedding)[0]
    assert prediction.label == LABELS[int(logits.argmax())]
    assert prediction.model == "shapes"
    assert prediction.known_score == pytest.approx(head.known_scores(embedding)[0], abs=1e-6)
    assert sum(prediction.scores.values()) == pytest.approx(1)


def test_taught_model_answers_the_same_at_every_batch_size(
    classic: Backbone, taught: Bundle, ship: Image.Image
) -> None:
    classifier = Classifier(taught, threads=1, backbone=classic)
    alone, *others = classifier.predict(ship), *classifier.predict_many([ship] * 3)
    for other in others:
        assert list(other.scores.values()) == pytest.approx(list(alone.scores.values()), abs=1e-5)


@pytest.mark.parametrize(("none_below", "verdict"), [(1.1, "none"), (-1.1, "known")])
def test_verdict_none_follows_the_similarity_to_the_classes(
    classic: Backbone, tmp_path: Path, ship: Image.Image, none_below: float, verdict: str
) -> None:
    bundle = write_taught(tmp_path / "shapes", classic.bundle, none_below=none_below)
    assert Classifier(bundle, threads=1, backbone=classic).predict(ship).verdict == verdict


def test_base_without_features_gives_no_saliency_map(
    classic: Backbone, taught: Bundle, ship: Image.Image
) -> None:
    classifier = Classifier(taught, threads=1, backbone=classic)
    assert classifier.predict(ship, saliency=True).saliency is None


def test_features_of_the_base_give_a_saliency_map(tmp_path: Path, ship: Image.Image) -> None:
    base = Backbone.load(Bundle.open(ROOT / "models" / "efficientnet"), threads=1)
    classifier = Classifier(
        write_taught(tmp_path / "shapes", base.bundle), threads=1, backbone=base
    )
    image = np.asarray(ship.resize((192, 192)))
    maps, outputs = classifier.maps(image[None])[0], classifier.outputs(image[None])
    head = read_head(classifier.bundle.read("head.npz"), base.engine.features, len(LABELS))
    np.testing.assert_allclose(maps.sum(axis=(0, 1)), outputs.logits[0] - head.bias, atol=1e-3)
    saliency = classifier.predict(ship, saliency=True).saliency
    assert saliency is not None
    assert saliency.shape == (192, 192)


def test_taught_model_without_its_base_is_refused(taught: Bundle) -> None:
    with pytest.raises(BundleError, match="shapes was taught on classic, which is needed"):
        Classifier(taught, threads=1)


def test_backbone_of_another_model_is_refused(taught: Bundle) -> None:
    other = Backbone.load(Bundle.open(ROOT / "models" / "baseline"), threads=1)
    with pytest.raises(BundleError, match="taught on a model other than baseline"):
        Classifier(taught, threads=1, backbone=other)


def test_mismatched_preprocessing_is_refused(classic: Backbone, taught: Bundle) -> None:
    text = json.loads((taught.folder / CONFIG).read_text())
    text["input"]["resize"] = "squash" if text["input"]["resize"] != "squash" else "center_crop"
    (taught.folder / CONFIG).write_text(json.dumps(text))
    with pytest.raises(BundleError, match="preprocesses photos differently"):
        Classifier(Bundle.open(taught.folder), threads=1, backbone=classic)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1},
        {"base": None},
        {"verdict": {"method": "energy", "none_below": 0, "unsure_below": 0}},
    ],
)
def test_incomplete_config_of_a_taught_model_is_refused(
    taught: Bundle, change: dict[str, object]
) -> None:
    text = json.loads((taught.folder / CONFIG).read_text()) | change
    (taught.folder / CONFIG).write_text(json.dumps(text))
    with pytest.raises(BundleError, match=r"config\.json is invalid"):
        Bundle.open(taught.folder)


def test_older_versions_can_read_models_without_a_base(classic: Backbone) -> None:
    assert "base" not in classic.bundle.config.model_dump(mode="json")
    assert "taught" not in classic.bundle.metrics().model_dump(mode="json")
    assert Config.model_validate(classic.bundle.config.model_dump()) == classic.bundle.config


def test_metrics_of_another_kind_of_model_are_refused(classic: Backbone, taught: Bundle) -> None:
    shutil.copy(classic.bundle.folder / "metrics.json", taught.folder)
    text = json.loads((taught.folder / CONFIG).read_text())
    text["sha256"]["metrics.json"] = classic.bundle.config.sha256["metrics.json"]
    (taught.folder / CONFIG).write_text(json.dumps(text))
    with pytest.raises(BundleError, match="a taught model has the number of photos"):
        Bundle.open(taught.folder).metrics()
