"""Pretrained weights of VGG16."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from core.bundle.card import describe_pretrained
from core.bundle.config import MODEL, Precision, Pretrained
from core.bundle.folder import Bundle, write_bundle
from core.cli.training import app
from core.errors import DataError, TenSightError
from core.photos.preprocess import normalise
from core.settings import Settings
from core.training.export.flatbuffer import to_flatbuffer
from core.training.networks import cnn
from core.training.networks.vgg16 import (
    VGG16_INPUT,
    describe_vgg16,
    import_vgg16,
    load_vgg16,
    save_vgg16,
)
from core.training.recipe import Recipe
from core.training.recipes import VGG16
from core.training.train_all import train_all
from tests.conftest import ROOT
from tests.support import made

SHAPE = (32, 32, 3)


ABOUT = Pretrained(
    network="VGG16",
    source="learned from made-up images",
    datasets=("me/mine",),
    license="mit",
    sha256="0" * 64,
    accuracy=0.4321,
    n=99,
)


@pytest.fixture(scope="module")
def body() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=SHAPE)


def as_published(model: keras.Model, file: Path) -> Path:
    """Write weights in the layout of the published file: HDF5 with a group for each layer."""
    with h5py.File(file, "w") as content:
        content.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = content.create_group(layer.name)
            weights = layer.get_weights()
            names = [f"{layer.name}_{'Wb'[i]}_1:0" for i in range(len(weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                group[name] = weight
    return file


def ask(
    names: Iterable[str],
    settings: Settings,
    *,
    resume: bool = False,
    weights: Path | None = None,
    recipes: Iterable[Recipe] = (),
) -> list[object]:
    """Train by name on made data, and return the outcomes."""
    outcomes = train_all(
        list(names),
        made.dataset(train=300, test=30),
        settings,
        seed=0,
        resume=resume,
        reporter=lambda name: nullcontext(made.Recorder()),
        vgg16_weights=None if weights is None else str(weights),
        recipes={recipe.name: recipe for recipe in recipes},
    )
    return [outcome.result for outcome in outcomes]


def short_transfer(precision: Precision) -> Recipe:
    return made.recipe(
        name="transfer",
        build=cnn.transfer,
        family="transfer",
        pretrained_body="vgg16",
        input=VGG16_INPUT,
        epochs=1,
        precision=precision,
        saliency="occlusion",
    )


def test_imagenet_weights_file_loads(body: keras.Model, tmp_path: Path) -> None:
    file = as_published(body, tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
    settings = Settings(home=tmp_path / "home")
    (about,) = ask([VGG16], settings, weights=file)
    assert about == describe_vgg16(settings)
    assert (describe_vgg16(settings).source, describe_vgg16(settings).accuracy) == (
        f"with the weights of the file {file.name}",
        None,
    )
    model = cnn.transfer(SHAPE, 10)
    load_vgg16(model, settings)
    features = keras.Model(model.input, model.get_layer("block5_pool").output)
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    expected = np.asarray(body(images))
    assert np.allclose(np.asarray(features(images)), expected, atol=1e-5 * np.abs(expected).max())


def test_imagenet_weights_name_their_authors_and_license(body: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "vgg16").mkdir()
    body.save_weights(tmp_path / "vgg16" / "vgg16_imagenet.weights.h5")
    about = describe_vgg16(Settings(data=tmp_path, home=tmp_path / "home"))
    assert about.license == "cc-by-4.0"
    shown = describe_pretrained(about)
    for words in (
        *("Simonyan", "Zisserman", "2014", "Visual Geometry Group", "University of Oxford"),
        *("CC BY 4.0", "rounded to float16"),
    ):
        assert words in shown


def test_train_vgg16_command_imports_a_file(body: keras.Model, tmp_path: Path) -> None:
    file = as_published(body, tmp_path / "published.h5")

    def train(*arguments: str) -> tuple[int, str]:
        environment = {"TENSIGHT_HOME": str(tmp_path / "home")}
        run = CliRunner().invoke(app, ["train", *arguments], env=environment)
        return run.exit_code, run.output

    code, output = train("vgg16", "--weights", str(file))
    assert code == 0, output
    assert "VGG16 with the weights of the file published.h5." in output
    assert describe_vgg16(Settings(home=tmp_path / "home")).source.endswith("published.h5")
    code, output = train("baseline", "--weights", str(file))
    assert code == 2
    assert "--weights requires the recipe vgg16, or --all" in output


def test_vgg16_input_matches_keras_preprocessing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    expected = keras.applications.vgg16.preprocess_input(rgb.astype(np.float32))
    assert np.allclose(normalise(rgb, VGG16_INPUT), expected, atol=1e-3)


def test_saved_weights_keep_their_description(body: keras.Model, tmp_path: Path) -> None:
    """Import weights that were trained on another machine."""
    there, here = Settings(home=tmp_path / "there"), Settings(home=tmp_path / "here")
    kept = save_vgg16(body, ABOUT, there)
    adopted = import_vgg16(str(tmp_path / "there" / "weights" / "vgg16.weights.h5"), here)
    assert adopted == describe_vgg16(here)
    assert adopted.model_copy(update={"sha256": kept.sha256}) == kept
    model = cnn.transfer(SHAPE, 10)
    load_vgg16(model, here)
    first = model.get_layer("block1_conv1").get_weights()[0]
    assert np.array_equal(first, body.get_layer("block1_conv1").get_weights()[0])


def test_weights_saved_by_keras_load(body: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / "mine.weights.h5"
    body.save_weights(file)
    assert import_vgg16(str(file), Settings(home=tmp_path / "home")).license == "other"


@pytest.mark.long
@pytest.mark.parametrize(("precision", "error"), [("float16", 1e-3), ("int8", 1e-2)])
def test_frozen_weights_are_read_from_a_trained_model(
    body: keras.Model, precision: Precision, error: float, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    kept = save_vgg16(body, ABOUT, settings)
    recipe = short_transfer(precision)
    (bundle,) = ask(["transfer"], settings, recipes=[recipe])
    assert isinstance(bundle, Bundle), bundle
    _check_that_weights_are_read(bundle, body, kept, error, tmp_path / "here")


def test_frozen_weights_are_read_from_a_model(body: keras.Model, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    kept = save_vgg16(body, ABOUT, settings)
    model = cnn.transfer(SHAPE, 10)
    load_vgg16(model, settings)
    logits, embedding = model.outputs[0], model.get_layer("embedding").output
    # Maps by occlusion would take most of the time of the conversion.
    maps = keras.ops.reshape(logits, (-1, 1, 1, 10))
    served = keras.Model(model.input, {"logits": logits, "embedding": embedding, "maps": maps})
    other = Bundle.open(ROOT / "models" / "transfer")
    config = other.config.model_copy(
        update={"training": other.config.training.model_copy(update={"pretrained": kept})}
    )
    files = {name: other.read(name) for name in config.sha256}
    files[MODEL] = to_flatbuffer(served, config.precision)
    bundle = write_bundle(tmp_path / "transfer", config, files)
    _check_that_weights_are_read(bundle, body, kept, 1e-2, tmp_path / "here")


def _check_that_weights_are_read(
    bundle: Bundle, body: keras.Model, kept: Pretrained, error: float, home: Path
) -> None:
    here = Settings(home=home)
    about = import_vgg16(str(bundle.folder), here)
    precision = bundle.config.precision
    said = f"learned from made-up images; read back from the {precision} weights of `transfer`"
    assert about == kept.model_copy(update={"source": said, "sha256": about.sha256})
    model = cnn.transfer(SHAPE, 10)
    load_vgg16(model, here)
    for layer in body.layers[1:]:
        mine = model.get_layer(layer.name).get_weights()
        for read, true in zip(mine, layer.get_weights(), strict=True):
            assert np.abs(read - true).max() <= error * np.abs(true).max()


@pytest.mark.parametrize("name", ["classic", "finetuned"])
def test_bundled_model_without_frozen_vgg16_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} does not have a frozen VGG16"):
        import_vgg16(str(ROOT / "models" / name), Settings(home=tmp_path))
    assert not (tmp_path / "weights").exists(), "nothing is half-written"


def test_other_model_without_frozen_vgg16_is_refused(made_models: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(DataError, match="shapes does not have a frozen VGG16"):
        import_vgg16(str(made_models / "shapes"), settings)
    assert not (settings.home / "weights").exists(), "nothing is half-written"


def test_other_files_are_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(DataError, match="There is no file nowhere"):
        ask(["baseline", VGG16], settings, weights=Path("nowhere.h5"), recipes=[made.recipe()])
    (tmp_path / "zip.keras").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read as weights"):
        import_vgg16(str(tmp_path / "zip.keras"), settings)
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(DataError, match=r"cannot be read as weights of keras\.applications"):
        import_vgg16(str(tmp_path / "text.h5"), settings)
    other = as_published(cnn.transfer(SHAPE, 10), tmp_path / "with_a_head.h5")
    with pytest.raises(DataError, match="without its top layers"):
        import_vgg16(str(other), settings)
    wide = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 1))
    with pytest.raises(DataError, match="cannot be read as weights"):
        import_vgg16(str(as_published(wide, tmp_path / "grey.h5")), settings)
    assert not settings.home.exists(), "nothing is half-written"


def test_failed_download_suggests_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy on loopback where nothing listens; urllib keeps those of its first request.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    # Keras looks for earlier downloads in a folder that it takes from KERAS_HOME when it starts.
    monkeypatch.setattr("keras.src.backend.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(
        DataError,
        match=r"Cannot download the ImageNet weights of VGG16: (.|\n)*"
        "Give the path of a file of weights in place of `imagenet`",
    ):
        import_vgg16("imagenet", Settings())


def test_changed_weights_are_refused(body: keras.Model, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(DataError, match="pretrained weights of VGG16 are missing"):
        load_vgg16(cnn.transfer(SHAPE, 10), settings)
    kept = save_vgg16(body, ABOUT, settings)
    assert kept == describe_vgg16(settings)
    assert kept.sha256 != ABOUT.sha256
    file = tmp_path / "weights" / "vgg16.weights.h5"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match="its SHA-256 differs"):
        load_vgg16(cnn.transfer(SHAPE, 10), settings)


def test_transfer_trains_its_head_only() -> None:
    model = cnn.transfer(SHAPE, 10)
    learning = {layer.name for layer in model.layers if layer.trainable_weights}
    assert learning == {"embedding", "logits"}


def test_finetuned_ends_in_the_means_of_two_blocks() -> None:
    model = cnn.finetuned((64, 48, 3), 10)
    assert model.get_layer("features").output.shape == (None, 4, 3, 1024)
    assert model.get_layer("embedding").output.shape == (None, 1024)
    assert cnn.finetuned((None, None, 3), 10).output_shape == (None, 10)
    paths = {variable.path for variable in model.trainable_variables}
    scales = cnn.vgg16_scales(0.5)
    assert set(scales) == paths - {"logits/kernel", "logits/bias"}
    assert scales["block5_conv3/kernel"] == 1
    assert scales["block3_conv1/bias"] == 0.25


def test_imagenet_weights_in_data_folder_are_found(body: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "vgg16").mkdir()
    body.save_weights(tmp_path / "vgg16" / "vgg16_imagenet.weights.h5")
    settings = Settings(data=tmp_path, home=tmp_path / "home")
    about = describe_vgg16(settings)
    assert about.license == "cc-by-4.0"
    assert about.datasets == ("ILSVRC/imagenet-1k",)
    (outcome,) = ask([VGG16], settings)
    assert outcome == about
    model = cnn.finetuned(SHAPE, 10)
    load_vgg16(model, settings)
    first = model.get_layer("block1_conv1").get_weights()[0]
    assert np.array_equal(first, body.get_layer("block1_conv1").get_weights()[0])
    kept = save_vgg16(body, ABOUT, settings)
    assert describe_vgg16(settings) == kept, "chosen weights come first"


@pytest.mark.long
def test_card_describes_pretrained_weights(body: keras.Model, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    kept = save_vgg16(body, ABOUT, settings)
    recipe = short_transfer("float32")
    (bundle,) = ask(["transfer"], settings, recipes=[recipe])
    assert isinstance(bundle, Bundle), bundle
    assert bundle.config.training.pretrained == kept
    assert bundle.config.training.datasets == ("me/mine",)
    card = bundle.read("README.md").decode()
    assert f"Pretrained weights: {describe_pretrained(ABOUT)}" in card
    assert "Accuracy on 99 validation images of Tiny ImageNet" in card
    other = keras.applications.VGG16(include_top=False, weights=None, input_shape=SHAPE)
    save_vgg16(other, ABOUT, settings)
    (error,) = ask(["transfer"], settings, resume=True, recipes=[recipe])
    assert isinstance(error, TenSightError)
    assert "has another recipe, seed or data" in str(error), "they were replaced"


def test_failed_vgg16_import_stops_recipes_that_need_it(body: keras.Model, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    kept = save_vgg16(body, ABOUT, settings)
    file = as_published(body, tmp_path / "weights.h5")
    short = made.recipe(name="short", epochs=1)
    transfer = short_transfer("float32")
    outcomes = train_all(
        ["short", VGG16, "transfer"],
        made.dataset(),
        settings,
        seed=0,
        resume=False,
        reporter=lambda name: nullcontext(made.Recorder()),
        vgg16_weights=str(file),
        recipes={"short": short, "transfer": transfer},
    )
    assert isinstance(next(outcomes).result, Bundle)
    file.unlink()
    missing, waiting = list(outcomes)
    assert "There is no file" in str(missing.result)
    assert (
        "transfer starts from the pretrained weights of VGG16, which could not be obtained"
        in str(waiting.result)
    )
    assert describe_vgg16(settings) == kept
