"""Training a head on frozen features, by the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from core.bundle.folder import Bundle
from core.errors import TrainingError
from core.inference.classifier import Classifier
from core.photos.preprocess import crops
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.training.data.real_photos import load_real_photos
from core.training.networks.cnn import Shape
from core.training.networks.optimizers import AnchoredAdamW
from core.training.photo_plan import Phase, PhotoPlan
from core.training.recipe import Recipe
from core.training.run import RunOptions, run_folder
from core.training.train import train
from tests.support import made

_PLAN = PhotoPlan(
    phases=(Phase(6, 24, 120, peak_rate=5e-3, final_rate=1e-4),),
    feature_views=2,
    blurred_sides=(12, 20),
    probe_rows=100,
    probe_c=1.0,
    interpolation_rows=20,
)


def _whole(shape: Shape, classes: int) -> keras.Model:
    inputs = layers.Input(shape, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", trainable=False, name="held")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten(name="features")(layers.AveragePooling2D(3)(x))
    return keras.Model(inputs, _above(x, classes))


def _head(features: int, classes: int) -> keras.Model:
    inputs = layers.Input((features,), name="features")
    return keras.Model(inputs, _above(inputs, classes))


def _above(x: object, classes: int) -> object:
    x = layers.Dense(16, activation="relu", name="embedding")(x)
    return layers.Dense(classes, name="logits")(layers.Dropout(0.1)(x))


def _set_kernel(model: keras.Model, *others: object) -> None:
    """Set the same initial weights whenever the network is built."""
    layer = model.get_layer("held")
    kernel = np.random.default_rng(0).normal(size=layer.kernel.shape)
    layer.set_weights([kernel.astype(np.float32), np.zeros(8, np.float32)])


def _recipe(**changes: object) -> Recipe:
    fields: dict[str, object] = {
        "name": "held",
        "title": "Held",
        "build": _whole,
        "build_head": _head,
        "prepare": _set_kernel,
        "plan": _PLAN,
        "epochs": 6,
        "patience": 6,
        "batch_size": 30,
        "crop_padding": 2,
        "input": made.recipe().input.model_copy(update={"height": 24, "width": 24}),
        "optimizer": AnchoredAdamW(anchor=0.0, ema_decay=0.9, clip_norm=1.0),
        "views": ("identity",),
        "precision": "float32",
        "saliency": "occlusion",
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


def test_resumed_head_reuses_stored_features(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, _recipe(), reporter=made.Recorder(stop_after=1))
    (kept,) = (tmp_path / "home" / "features").iterdir()
    files = {file.name: file.stat().st_mtime_ns for file in kept.iterdir()}
    assert set(files) == {f"{what}-{view}.npy" for what in ("rows", "photos") for view in (0, 1)}
    assert np.load(kept / "rows-0.npy").shape == (360, 128)
    assert not np.array_equal(np.load(kept / "rows-0.npy"), np.load(kept / "rows-1.npy"))
    bundle = _train(tmp_path, _recipe(), resume=True)
    assert bundle is not None
    assert files == {file.name: file.stat().st_mtime_ns for file in kept.iterdir()}
    metrics = bundle.metrics()
    assert len(metrics.curves) == 6
    assert metrics.test.accuracy > 0.3, "the shades are easy"
    assert metrics.real_photos is not None
    assert metrics.real_photos.accuracy.share > 0.3
    assert metrics.real_photos_frozen is not None
    state = json.loads(
        (run_folder(_recipe(), Settings(home=tmp_path / "home")) / "state.json").read_text("utf-8")
    )
    assert state["identity"]["recipe"]["head"] == "_head"


def _pooled(shape: Shape, classes: int) -> keras.Model:
    inputs = layers.Input(shape, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", trainable=False, name="held")(inputs)
    x = layers.GlobalAveragePooling2D(name="embedding")(layers.MaxPooling2D(2, name="features")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def _linear(features: int, classes: int) -> keras.Model:
    inputs = layers.Input((features,), name="embedding")
    return keras.Model(inputs, layers.Dense(classes, name="logits")(inputs))


def test_linear_head_is_trained_on_the_mean_of_a_feature_map(tmp_path: Path) -> None:
    recipe = _recipe(build=_pooled, build_head=_linear, saliency="activation", teachable=True)
    bundle = _train(tmp_path, recipe)
    assert bundle is not None
    # New classes can be taught on its embedding.
    space = TeachingBase(bundle).space(np.zeros((1, 8)))
    classifier = Classifier(bundle, threads=1)
    photos = load_real_photos(Settings(data=tmp_path))
    seen = photos.train.concat(photos.valid)
    fitted = [
        classifier.embed([crops(image, recipe.input)])
        for image, kind in zip(seen.images, seen.kinds, strict=True)
        if kind != "cow"  # one of the kinds on which teaching is evaluated
    ]
    np.testing.assert_allclose(space.mean, np.concatenate(fitted).mean(axis=0), rtol=1e-4)
    (kept,) = (tmp_path / "home" / "features").iterdir()
    assert np.load(kept / "rows-0.npy").shape == (360, 8)
    assert bundle.metrics().test.accuracy > 0.3, "the shades are easy"


@pytest.mark.long
def test_features_depend_on_views_but_not_on_epochs(tmp_path: Path) -> None:
    assert _train(tmp_path, _recipe()) is not None
    shorter = PhotoPlan(
        **(vars(_PLAN) | {"phases": (Phase(2, 24, 120, peak_rate=5e-3, final_rate=1e-4),)})
    )
    assert _train(tmp_path, _recipe(plan=shorter, epochs=2, patience=2)) is not None
    assert len(list((tmp_path / "home" / "features").iterdir())) == 1
    sharper = PhotoPlan(**(vars(shorter) | {"blurred_fraction": 0.0}))
    assert _train(tmp_path, _recipe(plan=sharper, epochs=2, patience=2)) is not None
    assert len(list((tmp_path / "home" / "features").iterdir())) == 2


def test_head_without_feature_views_is_refused() -> None:
    with pytest.raises(TrainingError, match="needs both build_head and feature_views"):
        _recipe(plan=PhotoPlan(**(vars(_PLAN) | {"feature_views": 0})))
