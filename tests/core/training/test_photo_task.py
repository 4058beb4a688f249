"""Training with real photos, by the whole pipeline, on a network of a few layers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from core.bundle.config import CARD, MODEL
from core.bundle.folder import Bundle
from core.cli.metrics_tables import print_metrics
from core.errors import DataError, TrainingError
from core.inference.classifier import Classifier
from core.inference.engine import EXPLAIN, Engine
from core.settings import Settings
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import evaluate
from core.training.fit import is_unfinished
from core.training.networks.cnn import Shape
from core.training.networks.optimizers import AdamW, AnchoredAdamW
from core.training.photo_plan import Phase, PhotoPlan
from core.training.recipe import Recipe
from core.training.run import RunOptions, run_folder
from core.training.train import train
from core.training.train_all import train_all
from tests.support import drawings, made


def _small(shape: Shape, classes: int) -> keras.Model:
    inputs = layers.Input(shape, name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, 2, padding="same", name="block0_depthwise")(x)
    x = layers.Conv2D(24, 1, name="head")(x)
    x = layers.ReLU(6.0, name="features")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


_PLAN = PhotoPlan(
    phases=(
        Phase(1, 16, 120, peak_rate=2e-3, final_rate=1e-3),
        Phase(1, 24, 90, peak_rate=1e-3, final_rate=1e-4),
    ),
    frozen_layers=("stem",),
    near_kinds=("cow",),
    blurred_sides=(12, 20),
    probe_rows=100,
    probe_c=1.0,
    interpolations=(0.5, 1.0),
    interpolation_rows=20,
)


def _recipe(**changes: object) -> Recipe:
    fields: dict[str, object] = {
        "name": "ten",
        "title": "Ten",
        "build": _small,
        "plan": _PLAN,
        "epochs": 2,
        "patience": 2,
        "batch_size": 30,
        "input": made.recipe().input.model_copy(update={"height": 24, "width": 24}),
        "optimizer": AnchoredAdamW(anchor=0.05, ema_decay=0.9, clip_norm=1.0),
        "views": ("identity",),
        "precision": "float32",
        "saliency": "activation",
    }
    return made.recipe(**(fields | changes))


def _train(
    folder: Path, recipe: Recipe, *, resume: bool = False, reporter: made.Recorder | None = None
) -> Bundle | None:
    if not (folder / "real_photos").exists():
        made.real_photos(folder)
    return train(
        recipe,
        made.ten(),
        Settings(data=folder, models=folder / "models", home=folder / "home"),
        RunOptions(0, resume, reporter or made.Recorder()),
        command="tests",
    )


def test_resumed_run_gives_a_model_with_real_photo_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, _recipe(), reporter=made.Recorder(stop_after=1))
    folder = run_folder(_recipe(), Settings(home=tmp_path / "home"))
    assert is_unfinished(folder)
    bundle = _train(tmp_path, _recipe(), resume=True)
    assert bundle is not None
    assert bundle.config.verdict.method in ("max_softmax", "energy", "gen", "fdbd", "probe")
    metrics = bundle.metrics()
    assert len(metrics.curves) == 2
    assert metrics.real_photos is not None
    assert metrics.real_photos_frozen is not None
    assert metrics.unseen_sources is None
    assert metrics.real_photos.accuracy.n == 40
    assert metrics.real_photos.n_none == 12
    assert metrics.real_photos.n_kept_back == 8
    assert set(metrics.real_photos.recall) == set(bundle.config.labels)
    assert [each.source for each in metrics.real_photos.sources] == ["one/photos", "two/photos"]
    assert metrics.real_photos.accuracy.share > 0.3, "the shades are easy"
    wrong = metrics.real_photos.accuracy
    assert len(metrics.real_photos.mistakes) == round(wrong.n * (1 - wrong.share))
    assert metrics.real_photos.ece_cross_fitted is not None
    assert metrics.real_photos_frozen.accuracy.n == 40
    assert metrics.real_photos_frozen.ece is None, "which has no calibration"
    assert metrics.resize is not None
    assert metrics.resize.n == 40
    training = bundle.config.training
    assert "52 real photos of 2 sources" in training.data
    assert {each.name: each.license for each in training.photos} == {
        "one/photos": None,
        "two/photos": None,
    }, "which are not ours"
    assert sum(each.photos for each in training.photos) == 52
    card = bundle.read(CARD).decode()
    assert "| one/photos | 26 | not recorded |" in card
    assert "cannot be redistributed" not in card
    print_metrics(metrics)
    printed = capsys.readouterr().out
    for line in (
        "Real photos: real photos, valid",
        "TNR of none at 95% TPR",
        "worst class",
        "kangaroo",
    ):
        assert line in printed
    assert "one/photos" in printed
    with pytest.raises(TrainingError, match="another recipe, seed or data"):
        _train(tmp_path, _recipe(label_smoothing=0.3), resume=True)


def test_held_out_sources_are_evaluated(tmp_path: Path) -> None:
    plan = replace(
        _PLAN,
        phases=_PLAN.phases[-1:],
        interpolations=(1.0,),
        held_out_sources=("two/photos",),
    )
    bundle = _train(tmp_path, _recipe(plan=plan, epochs=1, patience=1))
    assert bundle is not None
    metrics = bundle.metrics()
    assert metrics.unseen_sources is not None
    assert metrics.unseen_sources_frozen is not None
    assert metrics.unseen_sources.accuracy.n == 40
    assert [each.source for each in metrics.unseen_sources.sources] == ["two/photos"]
    assert metrics.real_photos is not None
    assert [each.source for each in metrics.real_photos.sources] == ["one/photos"]


@pytest.mark.long
def test_own_photos_are_trained_on_with_a_plan(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("ship.png", "chair.png"):
        drawings.ship(90, 60).save(own / name)
    (own / "labels.csv").write_text("file,label\nship.png,ship\nchair.png,none\n", "utf-8")
    made.real_photos(tmp_path)
    settings = Settings(data=tmp_path, models=tmp_path / "models", home=tmp_path / "home")
    names: list[str] = []

    def reporter(name: str) -> nullcontext[made.Recorder]:
        names.append(name)
        return nullcontext(made.Recorder())

    (outcome,) = train_all(
        ["ten"],
        made.ten(),
        settings,
        seed=0,
        resume=False,
        reporter=reporter,
        recipes={"ten": _recipe()},
        extra=own,
    )
    assert isinstance(outcome.result, Bundle), outcome.result
    assert names == ["ten"], "all photos are used"
    data = outcome.result.config.training.data
    assert "54 real photos of 2 sources, 41 of the labels and 13 of other" in data
    assert "including 2 photos of the user's own" in data


@pytest.mark.long
def test_exported_explanation_has_features_and_exact_maps(tmp_path: Path) -> None:
    bundle = _train(tmp_path, _recipe())
    assert bundle is not None
    engine = Engine(bundle.read(MODEL), shape=(24, 24), classes=10, threads=1)
    image = np.random.default_rng(0).normal(size=(1, 24, 24, 3)).astype(np.float32)
    runner = engine._interpreter.get_signature_runner(EXPLAIN)
    explained = runner(image=image)
    assert set(explained) == {"maps", "features"}
    assert explained["features"].shape == (1, 6, 6, 24)
    answer = engine.run(image)
    np.testing.assert_allclose(explained["features"].mean(axis=(1, 2)), answer.embedding, atol=1e-5)
    biases = answer.logits - explained["maps"].sum(axis=(1, 2))
    other = np.zeros_like(image)
    again = engine.run(other).logits - engine.explain(other).sum(axis=(1, 2))
    np.testing.assert_allclose(biases, again, atol=1e-4)
    seen = Classifier(bundle, threads=1).predict(drawings.ship(90, 60), saliency=True).saliency
    assert seen is not None, "36 cells are enough to be shown"
    assert seen.shape == (24, 24)


@pytest.mark.long
def test_evaluate_keeps_metrics_of_the_frozen_baseline(tmp_path: Path) -> None:
    bundle = _train(tmp_path, _recipe())
    assert bundle is not None
    before = bundle.metrics()
    settings = Settings(data=tmp_path, models=tmp_path / "models")
    rows = EvaluationData.load_with_real_photos(made.ten(), settings)
    after = evaluate(bundle, rows, settings, command="again").metrics()
    assert after.real_photos == before.real_photos
    assert after.real_photos_frozen == before.real_photos_frozen


def test_recipe_without_photos_or_with_invalid_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real_photos").mkdir()
    with pytest.raises(DataError, match="must hold train"):
        _train(tmp_path, _recipe())
    with pytest.raises(TrainingError, match="must have 3 epochs"):
        _recipe(epochs=3)
    with pytest.raises(TrainingError, match="needs the optimizer AnchoredAdamW"):
        _recipe(optimizer=AdamW(1e-3))
