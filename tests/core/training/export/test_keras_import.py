"""docs/ADD_A_MODEL.md, command by command, on a data set of three classes made here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from typer.testing import CliRunner

from core.bundle.folder import Bundle
from core.cli.training import app
from core.errors import DataError, TrainingError
from core.inference.classifier import Classifier
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.data.datasets import Split
from core.training.export.keras_import import import_keras
from core.training.export.keras_reader import read_keras_model
from tests.conftest import ROOT
from tests.support import made
from tests.support.forks import Fork
from tests.support.hub_server import HubServer

PAGE = (ROOT / "docs" / "ADD_A_MODEL.md").read_text("utf-8")


COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


def trained(*tail: layers.Layer) -> keras.Model:
    """Train a small network on the three classes; it takes pixels of 0 to 1."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 5, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    for layer in tail:
        x = layer(x)
    model = keras.Model(image, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    train = made.dataset().train
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(train.images / np.float32(255), train.labels, epochs=4, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the guide requires: a model, and two folders of photos."""
    folder = tmp_path_factory.mktemp("desk")
    trained(layers.Dense(3, activation="softmax")).save(folder / "shapes.keras")
    data = made.dataset()
    photos(folder / "validation", data.train.take(np.arange(60)))
    photos(folder / "test", data.test)
    return folder


def photos(folder: Path, split: Split) -> None:
    folder.mkdir()
    lines = ["file,label"]
    for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        Image.fromarray(image).resize((96, 96)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{made.LABELS[label]}")
    Image.new("RGB", (50, 50)).save(folder / "dark.png")
    (folder / "labels.csv").write_text("\n".join([*lines, "dark.png,none"]) + "\n")


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.mark.long
def test_add_a_model_page_works_command_by_command(
    workspace: Path, hub: HubServer, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TENSIGHT_", "HF_"))},
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(workspace / "hf"),
        "PYTHONPATH": str(ROOT),
        "TENSIGHT_HOME": str(workspace / "home"),
        "TENSIGHT_HUB_TOKEN": "t",
    }
    Image.open(workspace / "test" / "0.png").save(workspace / "photo.jpg")
    (workspace / "elsewhere").mkdir()
    printed: dict[str, list[str]] = {}
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "make":
            continue
        # The server has no models of its own, so they must come from the Hub.
        models = "models" if program == ".venv-dev/bin/tensight" else "elsewhere"
        if arguments[0] == "export" and "--replace" in arguments:
            # In this process, which has loaded TensorFlow; the first export ran in its own.
            monkeypatch.chdir(workspace)
            again = CliRunner().invoke(app, arguments, env={"TENSIGHT_MODELS": models})
            assert again.exit_code == 0, f"{command}\n{again.output}"
            continue
        with Fork(
            ["-m", "core.cli", *arguments],
            environment | {"TENSIGHT_MODELS": str(workspace / models)},
            folder=workspace,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as run:
            output, errors = run.communicate()
        assert run.returncode == 0, f"{command}\n{errors}"
        printed.setdefault(" ".join(arguments[:2]), []).append(output)
    first, second = printed["models pull"]
    assert first.startswith("shapes ")
    assert first != second, "the second version is another revision"
    assert [answer.split(": ")[0] for answer in printed["predict photo.jpg"]] == ["photo.jpg"]
    assert "red square" in printed["predict photo.jpg"][0]
    settings = Settings(home=workspace / "home", models=workspace / "elsewhere")
    catalog = Catalog(settings)
    assert catalog.load("shapes").labels == made.LABELS
    assert f"shapes {catalog.load('shapes').revision} is live\n" == first, "rolled back"
    catalog.close()
    bundle = Bundle.open(workspace / "models" / "shapes")
    card = (workspace / "models" / "shapes" / "README.md").read_text("utf-8")
    assert "Trained elsewhere" in card
    assert "curves.png" not in card
    assert "photos of the folder test" in card
    assert "Second version" in (workspace / "models" / "README.md").read_text("utf-8")
    metrics = bundle.metrics()
    assert metrics.test.n == 150
    assert metrics.test.accuracy > 0.9
    assert metrics.curves == ()
    published = hub.repos["owner/models"].commits[hub.repos["owner/models"].refs["v2"]]
    assert json.loads(published["shapes/config.json"])["labels"] == list(made.LABELS)
    assert b"Second version" in published["README.md"]


def exported(workspace: Path, file: Path, folder: Path, **changes: object) -> Bundle:
    options: dict[str, object] = {
        "labels": made.LABELS,
        "validation": workspace / "validation",
        "test": workspace / "test",
        "pixels": "0..1",
        "family": "scratch",
        "precision": "float32",
        "title": None,
        "settings": Settings(threads=1),
        "command": "tests",
    }
    return import_keras(file, folder, **(options | changes))  # type: ignore[arg-type]  # of a dict


@pytest.fixture(scope="module")
def plain(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Export the model of the guide without options."""
    return exported(
        workspace, workspace / "shapes.keras", tmp_path_factory.mktemp("plain") / "plain"
    )


@pytest.mark.parametrize("pixels", [pytest.param("0..255", marks=pytest.mark.long), "-1..1"])
def test_pixel_ranges_are_normalised(workspace: Path, tmp_path: Path, pixels: str) -> None:
    scale, offset = {"0..255": (1 / 255, 0.0), "-1..1": (0.5, 0.5)}[pixels]
    inner = keras.saving.load_model(workspace / "shapes.keras")
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(scale, offset)(image)
    for layer in inner.layers[1:]:
        x = layer(x)
    keras.Model(image, x).save(tmp_path / "other.keras")
    bundle = exported(workspace, tmp_path / "other.keras", tmp_path / "other", pixels=pixels)
    assert bundle.metrics().test.accuracy > 0.9


def test_logits_and_separate_softmax_give_the_same_scores(workspace: Path, tmp_path: Path) -> None:
    inner = keras.saving.load_model(workspace / "shapes.keras")
    plain = layers.Dense(3)
    logits = plain(inner.layers[-1].input)
    plain.set_weights(inner.layers[-1].get_weights())
    answers = []
    for name, output in (("plain", logits), ("apart", layers.Softmax()(logits))):
        keras.Model(inner.inputs, output).save(tmp_path / f"{name}.keras")
        bundle = exported(workspace, tmp_path / f"{name}.keras", tmp_path / name)
        classifier = Classifier(bundle, threads=1)
        answers.append(classifier.predict(workspace / "test" / "1.png", saliency=True))
    assert answers[0].scores == pytest.approx(answers[1].scores, abs=1e-5)
    assert answers[0].saliency is not None


@pytest.mark.parametrize("nested", [pytest.param(False, marks=pytest.mark.long), True])
def test_augmentation_layers_are_removed(
    workspace: Path, plain: Bundle, tmp_path: Path, nested: bool
) -> None:
    inner = keras.saving.load_model(workspace / "shapes.keras")
    augment = [
        *(layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.2)),
        *(layers.RandomTranslation(0.1, 0.1), layers.RandomContrast(0.1), layers.GaussianNoise(1)),
    ]
    image = keras.Input((32, 32, 3))
    x = image
    for layer in [keras.Sequential(augment)] if nested else augment:
        x = layer(x)
    for layer in inner.layers[1:]:
        x = layer(x)
    model = keras.Model(image, x)
    model.save(tmp_path / "augmented.keras")
    bundle = exported(workspace, tmp_path / "augmented.keras", tmp_path / "augmented")
    photo = workspace / "test" / "1.png"
    answers = [Classifier(b, threads=1).predict(photo, saliency=True) for b in (bundle, plain)]
    assert answers[0].scores == pytest.approx(answers[1].scores, abs=1e-5)
    assert answers[0].saliency is not None


def test_plain_sequential_is_exported(workspace: Path, plain: Bundle, tmp_path: Path) -> None:
    inner = keras.saving.load_model(workspace / "shapes.keras")
    model = keras.Sequential([keras.Input((32, 32, 3)), *inner.layers[1:]])
    model.save(tmp_path / "sequential.keras")
    bundle = exported(workspace, tmp_path / "sequential.keras", tmp_path / "sequential")
    photo = workspace / "test" / "1.png"
    answers = [Classifier(b, threads=1).predict(photo, saliency=True) for b in (bundle, plain)]
    assert answers[0].scores == pytest.approx(answers[1].scores, abs=1e-5)
    assert answers[0].saliency is not None


@pytest.mark.parametrize("end", ["activation", "operation", "dropout between", "linear after"])
def test_softmax_is_removed_in_every_spelling(workspace: Path, tmp_path: Path, end: str) -> None:
    inner = keras.saving.load_model(workspace / "shapes.keras")
    plain = layers.Dense(3)
    logits = plain(inner.layers[-1].input)
    plain.set_weights(inner.layers[-1].get_weights())
    softmax = layers.Activation("softmax", dtype="float32")
    output = {
        "activation": lambda: softmax(logits),
        "operation": lambda: keras.ops.softmax(logits),
        "dropout between": lambda: softmax(layers.Dropout(0.1)(logits)),
        "linear after": lambda: layers.Activation("linear")(softmax(logits)),
    }[end]()
    keras.Model(inner.inputs, output).save(tmp_path / "model.keras")
    _, served = read_keras_model(tmp_path / "model.keras", made.LABELS)
    images = made.dataset().test.images[:5] / np.float32(255)
    expected = keras.Model(inner.inputs[0], logits)(images)
    found = keras.Model(served.inputs[0], served.outputs[0])(images)
    assert np.asarray(found) == pytest.approx(np.asarray(expected), abs=1e-5)


def test_unsupported_layer_is_named(
    workspace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = keras.Input((32, 32, 3))
    x = layers.LSTM(4, name="rows")(layers.Reshape((32, 96))(image))
    keras.Model(image, layers.Dense(3)(x)).save(tmp_path / "bad.keras")
    with pytest.raises(TrainingError, match=r"LiteRT does not support the layer rows, a LSTM"):
        exported(workspace, tmp_path / "bad.keras", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    assert capfd.readouterr().err.count("\n") < 3


def test_invalid_models_are_refused(workspace: Path, tmp_path: Path) -> None:
    def refused(file: Path, error: type[Exception], message: str, **changes: object) -> None:
        with pytest.raises(error, match=message):
            exported(workspace, file, tmp_path / "out", **changes)
        assert not (tmp_path / "out").exists()

    good = workspace / "shapes.keras"
    refused(tmp_path / "old.h5", TrainingError, r"is not a \.keras file")
    refused(tmp_path / "missing.keras", TrainingError, "cannot be read as a Keras model")
    refused(good, TrainingError, "an output for each of the labels a, b", labels=("a", "b"))
    refused(good, TrainingError, "labels must differ", labels=("a", "a", "b"))
    with pytest.raises(TrainingError, match="A name consists of lower-case letters"):
        exported(workspace, good, tmp_path / "Shapes")
    image = keras.Input((32, 32, 3))
    keras.Model(image, layers.GlobalAveragePooling2D()(image)).save(tmp_path / "pool.keras")
    refused(tmp_path / "pool.keras", TrainingError, "must end in a Dense layer")
    refused(good, DataError, r"labels\.csv cannot be read", validation=tmp_path)
    few = tmp_path / "few"
    photos(few, made.dataset().test.take(np.arange(2)))
    refused(good, DataError, "none of blue sky; at least 20", validation=few)
