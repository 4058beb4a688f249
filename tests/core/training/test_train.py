"""The whole pipeline, on data made by the tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from core.bundle.config import Precision
from core.bundle.folder import Bundle, find_bundles
from core.errors import TrainingError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.data.datasets import hold_out
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import evaluate
from core.training.networks import cnn
from core.training.run import RunOptions
from core.training.train import train
from tests.support import made


def test_trained_model_folder_is_complete(made_models: Path) -> None:
    (folder,) = find_bundles(made_models)
    bundle = Bundle.open(folder)
    bundle.verify()
    metrics = bundle.metrics()
    assert bundle.config.labels == made.LABELS
    assert metrics.test.n == 150
    assert metrics.validation.n == 60
    assert metrics.test.accuracy > 0.9, "the shapes are easy"
    assert [c.epoch for c in metrics.curves] == [1, 2, 3]
    assert sum(map(sum, metrics.test.confusion)) == sum(metrics.test.verdicts.values()) == 150
    assert metrics.parameters > 500_000
    found = {file.name for file in folder.iterdir()}
    assert found == {
        *("README.md", "config.json", "confusion.png", "curves.png"),
        *("metrics.json", "model.tflite", "reliability.png"),
    }
    for plot in folder.glob("*.png"):
        with Image.open(plot) as image:
            image.verify()


def test_none_threshold_comes_from_validation_rows(made_models: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    _, validation = hold_out(made.dataset().train)
    predictions = classifier.predict_many([Image.fromarray(i) for i in validation.images])
    scores = [prediction.known_score for prediction in predictions]
    assert classifier.config.verdict.none_below == pytest.approx(
        np.quantile(scores, 0.05, method="inverted_cdf")
    )


def test_metrics_include_float32_and_single_view(made_models: Path) -> None:
    (folder,) = find_bundles(made_models)
    metrics = Bundle.open(folder).metrics()
    assert metrics.float32 == pytest.approx(metrics.test.accuracy, abs=0.01)
    assert metrics.single_view == pytest.approx(metrics.test.accuracy, abs=0.1)
    assert metrics.resize is None, "these are not CIFAR-10's labels"


def test_failed_run_keeps_the_old_model(made_models: Path, tmp_path: Path) -> None:
    (folder,) = find_bundles(made_models)
    before = Bundle.open(folder).revision
    with pytest.raises(KeyboardInterrupt):
        train(
            made.shapes(),
            made.dataset(),
            Settings(models=made_models, home=tmp_path),
            RunOptions(1, False, made.Recorder(stop_after=1)),
            command="tests",
        )
    assert Bundle.open(folder).revision == before


def _train_ten(
    folder: Path, *, resume: bool = False, precision: Precision = "float32", **changes: object
) -> Bundle | None:
    if not (folder / "tiny-imagenet").exists():
        made.tiny_imagenet(folder)
    recipe = made.recipe(name="ten", title="Ten", precision=precision, **changes)
    return train(
        recipe,
        made.ten(),
        Settings(data=folder, models=folder / "models", home=folder / "home"),
        RunOptions(0, resume, made.Recorder()),
        command="tests",
    )


@pytest.mark.long
def test_tiny_imagenet_recipe_is_measured_on_photos(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (90, 60), (5, 5, 5)).save(photos / "a.png")
    Image.new("RGB", (90, 60), (9, 200, 9)).save(photos / "b.png")
    (photos / "labels.csv").write_text("file,label\na.png,airplane\nb.png,none\n")
    bundle = _train_ten(
        tmp_path,
        tiny_imagenet=True,
        outliers_per_epoch=30,
        license="apache-2.0",
        notes="A word to the reader.",
    )
    assert bundle is not None
    assert bundle.config.training.data == (
        "Ten shades, 360 train rows; Tiny ImageNet, 44 train images of the same classes; "
        "230 of other classes (30 per epoch)"
    )
    metrics = bundle.metrics()
    assert metrics.lost == 0
    assert metrics.resize is not None
    assert metrics.resize.n == 11
    assert metrics.photos is not None
    assert metrics.photos.n == 2
    assert list(metrics.photos.recall) == ["airplane"]
    card = bundle.read("README.md").decode()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["license"], head["datasets"]) == ("apache-2.0", ["zh-plus/tiny-imagenet"])
    assert "chosen by the accuracy on 11 images cut to 4:3 and 3:4" in card
    assert "It gains " in card
    assert "\nA word to the reader.\n" in card
    assert "| airplane | 1 |" in card
    photos.rename(tmp_path / "away")
    settings = Settings(data=tmp_path, models=bundle.folder.parent)
    again = evaluate(bundle, EvaluationData.load(made.ten(), settings), settings, command="again")
    assert again.metrics().photos == metrics.photos, "no photos are at hand, so the old figures"
    assert again.metrics().outliers == metrics.outliers
    assert again.metrics().sharp == metrics.sharp
    assert again.metrics().resize == metrics.resize
    assert again.metrics().float32 == metrics.float32


def test_costly_quantisation_is_refused(tmp_path: Path) -> None:
    """One weight that no image uses is so large that beside it int8 knows only zeros."""

    def build(shape: cnn.Shape, classes: int) -> keras.Model:
        x = inputs = keras.layers.Input(shape)
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        # The weights of smaller layers are not quantised.
        embedding = keras.layers.Dense(128, activation="relu", name="embedding")
        logits = keras.layers.Dense(classes, name="logits")
        model = keras.Model(inputs, logits(embedding(x)))
        # Of the first feature: its bias is so low that it never fires.
        embedding.bias.assign(np.eye(128)[0] * -1e6)
        kernel = np.array(logits.kernel)
        kernel[0] = 1e6
        logits.kernel.assign(kernel)
        return model

    with pytest.raises(
        TrainingError, match=r"int8 weights cost ten 0\.\d+ of its validation accuracy"
    ):
        _train_ten(tmp_path, build=build, precision="int8")
    assert not (tmp_path / "models").exists()
    assert _train_ten(tmp_path, build=build, resume=True) is not None, "the run was kept"


def test_changed_network_is_not_exported(made_models: Path, tmp_path: Path) -> None:
    shutil.copytree(made_models.parent / "home", tmp_path / "home")

    def go_on(build: Callable[[cnn.Shape, int], keras.Model]) -> None:
        train(
            replace(made.shapes(), build=build),
            made.dataset(),
            Settings(models=tmp_path / "models", home=tmp_path / "home"),
            RunOptions(0, True, made.Recorder()),
            command="tests",
        )

    def other(shape: cnn.Shape, classes: int) -> keras.Model:
        model = cnn.baseline(shape, classes)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.epsilon = 1e4
        return model

    def smaller(shape: cnn.Shape, classes: int) -> keras.Model:
        x = inputs = keras.layers.Input(shape)
        return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(x)))

    other.__name__ = smaller.__name__ = "baseline"
    with pytest.raises(
        TrainingError, match="The code of its network has changed since the run; train it again"
    ):
        go_on(other)
    with pytest.raises(TrainingError, match="its weights have other shapes"):
        go_on(smaller)


def test_run_on_another_backend_waits_for_its_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = SimpleNamespace(platform="gpu", device_kind="Accelerator 9")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [accelerator]))
    assert _train_ten(tmp_path) is None
    assert not (tmp_path / "models").exists()
    monkeypatch.undo()
    bundle = _train_ten(tmp_path, resume=True)
    assert bundle is not None
    assert bundle.config.training.epochs == 3
    assert bundle.config.training.hardware.endswith(", Accelerator 9")
