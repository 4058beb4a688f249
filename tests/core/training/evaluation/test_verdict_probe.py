"""The probe of the verdict, fitted to a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.bundle.folder import Bundle
from core.errors import DataError
from core.inference.classifier import Classifier
from core.settings import Settings
from core.training.data.tiny_imagenet import TINY_HUB_REPO, TinyImageNet
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.model_outputs import run_inference
from core.training.evaluation.ood import score_outputs
from core.training.evaluation.verdict_probe import TinyProbe
from core.training.photo_plan import Phase, PhotoPlan
from tests.conftest import ROOT
from tests.support import made

PLAN = PhotoPlan(phases=(Phase(1, 32, 10, peak_rate=1e-3, final_rate=1e-4),))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(Bundle.open(ROOT / "models" / "classic"), threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = made.real_photos(tmp_path_factory.mktemp("data"))
    return EvaluationData.load_with_real_photos(made.ten(), Settings(data=folder))


def _images(shade: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(shade)
    return rng.integers(shade, shade + 20, (count, 64, 64, 3)).astype(np.uint8)


def test_probe_learns_tiny_imagenet_as_its_weight_says(
    classifier: Classifier, data: EvaluationData
) -> None:
    others = _images(200, 40)
    same = data.learn.take(np.arange(10))
    tiny = TinyImageNet(same, replace(same, images=others, labels=np.zeros(40, np.int64)))
    outputs = run_inference(classifier, others, "others").outputs
    scores = {
        weight: score_outputs(
            "probe", outputs, classifier.config, TinyProbe(tiny, weight).fit(classifier, data)
        ).mean()
        for weight in (1e-6, 1.0)
    }
    assert scores[1.0] < 0 < scores[1e-6]


def test_probe_needs_real_photos(classifier: Classifier, data: EvaluationData) -> None:
    probe = TinyProbe(TinyImageNet(data.learn, data.learn), 1.0)
    with pytest.raises(DataError, match="real photos"):
        probe.fit(classifier, replace(data, real=None))


def test_training_record_names_tiny_imagenet_once(
    classifier: Classifier, data: EvaluationData
) -> None:
    probe = TinyProbe(TinyImageNet(data.learn, data.learn), 1.0)
    before = classifier.config.training
    record = probe.record(before)
    assert record.datasets == (*before.datasets, TINY_HUB_REPO)
    assert f"the verdict also on {2 * len(data.learn)} images of Tiny ImageNet" in record.data
    assert probe.record(record) == record
    fewer = TinyProbe(TinyImageNet(data.learn, data.learn.take(np.arange(3))), 1.0)
    assert fewer.record(record) == fewer.record(before)


def test_plan_without_tiny_imagenet_keeps_the_outputs_of_the_network(tmp_path: Path) -> None:
    settings = Settings(data=made.tiny_imagenet(tmp_path))
    assert TinyProbe.from_plan(None, settings) is None
    assert TinyProbe.from_plan(PLAN, settings) is None


def test_plan_with_tiny_imagenet_needs_real_photos_too(tmp_path: Path) -> None:
    settings = Settings(data=made.tiny_imagenet(tmp_path))
    plan = replace(PLAN, tiny_imagenet_weight=0.5)
    with pytest.raises(DataError, match=r"holds no train-\*\.parquet: it must hold"):
        TinyProbe.from_plan(plan, settings)
    made.real_photos(tmp_path)
    probe = TinyProbe.from_plan(plan, settings)
    assert probe is not None
    assert probe.weight == 0.5
    assert len(probe.images.outliers) == 230
