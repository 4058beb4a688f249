"""Measuring stored models again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from core.bundle.config import MODEL, SPACE
from core.bundle.folder import Bundle, find_bundles, write_bundle
from core.cli import evaluate as evaluate_command
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.inference.head import write_space
from core.inference.reliability import ece, reliability
from core.settings import Settings
from core.teaching.space import fit_space
from core.training.data.cifar10 import load_cifar10
from core.training.evaluation import measure
from core.training.evaluation.corruptions import CORRUPTED_ROWS, corrupt, corruptions
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import evaluate
from core.training.evaluation.model_outputs import run_inference
from core.training.photo_plan import PhotoPlan
from core.training.recipes import get_recipe
from tests.conftest import ROOT
from tests.support import made


def run_command(models: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run a command of evaluation on made data, and return what it prints."""
    dataset = made.dataset(test=12)
    monkeypatch.setattr(
        evaluate_command, "_load_rows", lambda settings: EvaluationData.load(dataset, settings)
    )
    monkeypatch.setenv("TENSIGHT_MODELS", str(models))
    run = CliRunner().invoke(evaluate_command.app, arguments, catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return run.stdout


def without_times(bundle: Bundle) -> dict[str, Any]:
    figures = bundle.metrics().model_dump(mode="json")
    del figures["milliseconds"], figures["origin"]
    return figures


def test_evaluate_all_replaces_metrics_and_pages(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = find_bundles(models)
    before = Bundle.open(folder)
    curves = before.metrics().curves
    (models / "README.md").unlink(missing_ok=True)
    printed = run_command(models, monkeypatch, "evaluate", "--all", "--json")
    after = Bundle.open(folder)
    after.verify()
    figures = after.metrics()
    assert json.loads(printed)["shift_n"] == figures.shift_n == 12
    assert figures.shift is not None
    assert sorted(figures.shift) == sorted(corruptions())
    assert figures.curves == curves
    assert "gaussian_noise" in (models.parent / "docs" / "RESULTS.md").read_text("utf-8")
    assert "shapes" in (models / "README.md").read_text("utf-8")
    assert after.revision != before.revision
    once = without_times(after)
    run_command(models, monkeypatch, "evaluate", "--all")
    assert without_times(Bundle.open(folder)) == once, "the same figures again"


def test_calibrate_replaces_calibration_and_thresholds(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = find_bundles(models)
    rng = np.random.default_rng(0)
    bundle = Bundle.open(folder)
    files = {name: bundle.read(name) for name in bundle.config.sha256}
    spread = rng.normal(size=(40, 32)).astype(np.float32)
    files[SPACE] = write_space(fit_space(spread, np.repeat([*"ab"], 20)))
    trained = write_bundle(folder, bundle.config, files)
    verdict = trained.config.verdict.model_copy(update={"none_below": 0.9, "unsure_below": 0.9})
    files = {name: trained.read(name) for name in trained.config.sha256}
    write_bundle(
        folder,
        trained.config.model_copy(update={"temperature": 3.0, "verdict": verdict}),
        files,
    )
    printed = run_command(models, monkeypatch, "calibrate", "shapes", "--json")
    calibrated = Bundle.open(folder)
    calibrated.verify()
    same_files = {"sha256": trained.config.sha256}
    assert calibrated.config.model_copy(update=same_files) == trained.config
    for name in (MODEL, SPACE):
        assert calibrated.read(name) == trained.read(name)
    assert json.loads(printed)["test"]["n"] == 12


def test_calibrate_passes_the_plan_of_the_recipe(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = find_bundles(models)
    plans = []

    def recalibrate(bundle: Bundle, *data: object, plan: PhotoPlan | None, command: str) -> Bundle:
        plans.append(plan)
        return bundle

    monkeypatch.setattr(measure, "recalibrate", recalibrate)
    run_command(models, monkeypatch, "calibrate", "shapes")
    bundle = Bundle.open(folder)
    training = bundle.config.training.model_copy(update={"recipe": "transfer"})
    files = {name: bundle.read(name) for name in bundle.config.sha256}
    write_bundle(folder, bundle.config.model_copy(update={"training": training}), files)
    run_command(models, monkeypatch, "calibrate", "shapes")
    assert plans == [None, get_recipe("transfer").plan]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("folder", find_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_stored_metrics_are_those_of_the_stored_weights(
    folder: Path, data_folder: Path, photos_folder: Path, tmp_path: Path
) -> None:
    settings = Settings(data=data_folder, models=tmp_path)
    stored = Bundle.open(folder)
    shutil.copytree(folder, tmp_path / folder.name)
    rows = EvaluationData.load(load_cifar10(settings), settings)
    again = evaluate(Bundle.open(tmp_path / folder.name), rows, settings, command="again")
    assert _near(without_times(again), without_times(stored)) == []
    shift = stored.metrics().shift
    assert shift is not None
    way = corruptions()[len(folder.name) % 15]
    some = rows.dataset.test.take(np.arange(CORRUPTED_ROWS))
    classifier = Classifier(again, threads=settings.threads)
    logits = run_inference(classifier, corrupt(some.images, way, 3), way).outputs.logits
    right = logits.argmax(axis=1) == some.labels
    sure = confidences(logits, classifier.config)
    assert right.mean() == pytest.approx(shift[way].accuracy[2], abs=0.001)
    assert ece(reliability(sure, right)) == pytest.approx(shift[way].ece[2], abs=0.001)


def _near(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """List where two trees of metrics differ by more than 0.001, or counts by more than 10."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [p for key in ours for p in _near(ours[key], theirs[key], f"{where}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        # Order and bins may change where confidences differ in the last digits.
        if where.endswith(".mistakes"):
            # Rows of a data set have a number, and photos a path.
            seen, known = (
                {each.get("row", each.get("path")) for each in m} for m in (ours, theirs)
            )
            both = len(seen & known)
            return [] if both >= len(ours) - 2 else [f"{where}: {both} of {len(ours)}"]
        if where.endswith(".reliability"):
            ours, theirs = (
                [{"n": b["n"], "right": round(b["n"] * (b["accuracy"] or 0))} for b in bins]
                for bins in (ours, theirs)
            )
        return [p for i, each in enumerate(ours) for p in _near(each, theirs[i], f"{where}.{i}")]
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        most = 10 if isinstance(ours, int) and isinstance(theirs, int) else 0.001
        return [] if abs(ours - theirs) <= most else [f"{where}: {ours}, {theirs}"]
    return [] if ours == theirs else [f"{where}: {ours}, {theirs}"]
