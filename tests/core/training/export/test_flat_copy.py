"""Copies of Keras models in one graph, as the import of Keras models makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from core.errors import TrainingError
from core.training.export.flat_copy import flat_copy
from core.training.export.keras_reader import add_outputs, read_keras_model

LABELS = ("a", "b", "c")


def body(*end: layers.Layer) -> list[layers.Layer]:
    return [
        *(layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu")),
        *(layers.MaxPooling2D(), layers.Flatten(), *(end or (layers.Dense(3, "softmax"),))),
    ]


def sequential(*chain: layers.Layer, side: int = 32) -> keras.Model:
    return keras.Sequential([keras.Input((side, side, 3)), *chain])


def functional(build: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    image = keras.Input((32, 32, 3))
    return keras.Model(image, build(image))


def adapted() -> layers.Normalization:
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(90, 40, (20, 32, 32, 3)).astype(np.float32))
    return layer


def mobilenet(side: int) -> keras.Model:
    return keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(side, side, 3), alpha=0.35
    )


def transfer(image: keras.KerasTensor) -> keras.KerasTensor:
    x = keras.applications.mobilenet_v2.preprocess_input(layers.RandomFlip()(image))
    x = layers.GlobalAveragePooling2D()(mobilenet(32)(x, training=False))
    return layers.Dense(3)(x)


def residual(image: keras.KerasTensor) -> keras.KerasTensor:
    x = (layers.Conv2D(3, 3, padding="same")(image) + image) / 2
    x = keras.ops.relu(layers.GlobalAveragePooling2D()(x)) * 2
    return layers.Dense(3)(x)


def nested_in_structures(image: keras.KerasTensor) -> keras.KerasTensor:
    inner = keras.Input((32, 32, 3), name="pixels")
    of_list = keras.Model([inner], [layers.Conv2D(4, 3, activation="relu")(inner)])
    maps = keras.Input((30, 30, 4), name="maps")
    of_dict = keras.Model({"maps": maps}, {"vector": layers.GlobalAveragePooling2D()(maps)})
    return layers.Dense(3)(of_dict({"maps": of_list([image])[0]})["vector"])


def shared(image: keras.KerasTensor) -> keras.KerasTensor:
    twice = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(twice(twice(image))))


def built_by_call() -> keras.Model:
    model = keras.Sequential(body())
    model(np.zeros((2, 32, 32, 3), np.float32))
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "plain": lambda: sequential(*body()),
    "built by a call": built_by_call,
    "batch of a fixed size": lambda: keras.Sequential(
        [keras.Input(batch_shape=(8, 32, 32, 3)), *body()]
    ),
    "resizing": lambda: sequential(layers.Resizing(32, 32), *body(), side=48),
    "center crop": lambda: sequential(layers.CenterCrop(32, 32), *body(), side=48),
    "normalization": lambda: sequential(adapted(), *body()),
    "normalization after a flip": lambda: sequential(layers.RandomFlip(), adapted(), *body()),
    "crop that removes nothing": lambda: sequential(layers.RandomCrop(32, 32), *body()),
    "pipeline": lambda: sequential(
        layers.Pipeline([layers.RandomFlip(), layers.Rescaling(2.0)]), *body()
    ),
    "solarization": lambda: sequential(layers.Solarization(), *body()),
    "head in a Sequential": lambda: sequential(
        *body(keras.Sequential([layers.Dense(8, "relu"), layers.Dense(3)]))
    ),
    "flatten after the head": lambda: sequential(
        layers.GlobalAveragePooling2D(keepdims=True),
        *(layers.Dense(3), layers.Flatten(), layers.Softmax()),
    ),
    "reshape after the head": lambda: sequential(*body(layers.Dense(3), layers.Reshape((3,)))),
    "backbone in a Sequential": lambda: sequential(
        layers.Rescaling(1 / 127.5, -1),
        *(mobilenet(96), layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(3)),
        side=96,
    ),
    "backbone after a flip": lambda: functional(transfer),
    "operations between layers": lambda: functional(residual),
    "layer that is used twice": lambda: functional(shared),
    "names of the exporter": lambda: sequential(
        *body(
            *(layers.Dense(5, name="embedding"), layers.Dense(4, name="logits")),
            layers.Dense(3, name="scores"),
        )
    ),
}


def with_random_weights(model: keras.Model) -> keras.Model:
    """Give all weights other values than those they begin with, so that a lost one is noticed."""
    random = np.random.default_rng(1)
    weights = [w * random.uniform(0.9, 1.1, w.shape) + 0.01 for w in model.get_weights()]
    model.set_weights(weights)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


@pytest.mark.parametrize(
    "name",
    # Of two large networks, the one that is nested otherwise than in the test below.
    [
        pytest.param(name, marks=[pytest.mark.long] * (name == "backbone in a Sequential"))
        for name in MODELS
    ],
)
def test_models_of_every_structure_are_served_with_their_logits(tmp_path: Path, name: str) -> None:
    keras.utils.set_random_seed(0)
    with_random_weights(MODELS[name]()).save(tmp_path / "model.keras")
    original, served = read_keras_model(tmp_path / "model.keras", LABELS)
    images = np.random.default_rng(0).uniform(0, 255, (2, *served.input_shape[1:]))
    outputs = add_outputs(served)(images.astype(np.float32))
    logits = np.asarray(outputs["logits"])
    expected = np.asarray(original.predict(images.astype(np.float32), verbose=0)).reshape(2, 3)
    if np.allclose(expected.sum(axis=1), 1, atol=1e-5):
        logits = np.asarray(keras.ops.softmax(logits))
    assert logits == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert outputs["maps"].shape[3] == 3
    assert outputs["embedding"].ndim == 2


def test_evidence_maps_reach_into_a_nested_backbone() -> None:
    keras.utils.set_random_seed(0)
    model = sequential(mobilenet(96), layers.GlobalAveragePooling2D(), layers.Dense(3), side=96)
    flat = flat_copy(model)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    assert {"Conv1", "out_relu"} <= {layer.name for layer in flat.layers}


def test_mixed_precision_becomes_float32() -> None:
    chain = [
        layers.Conv2D(4, 3, dtype="mixed_float16"),
        layers.GlobalAveragePooling2D(dtype="mixed_bfloat16"),
    ]
    flat = flat_copy(sequential(*chain, layers.Dense(3, dtype="float32")))
    assert {layer.compute_dtype for layer in flat.layers} == {"float32"}


REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "random crop": (
        lambda: sequential(layers.RandomCrop(24, 24, name="cropped"), *body()),
        r"the layer cropped is a RandomCrop, .* Replace it by CenterCrop\(24, 24\)",
    ),
    "sigmoid": (
        lambda: sequential(*body(layers.Dense(3, "sigmoid", name="scores"))),
        r"the layer scores gives each label a probability of its own \(sigmoid\)",
    ),
    "sigmoid of its own": (
        lambda: sequential(*body(layers.Dense(3), layers.Activation("sigmoid", name="scores"))),
        r"the layer scores gives each label a probability of its own \(sigmoid\)",
    ),
    "other activation": (
        lambda: sequential(*body(layers.Dense(3, "relu", name="scores"))),
        "ends in the layer scores, a Dense with the activation relu",
    ),
    "pooling last": (
        lambda: sequential(layers.Dense(3), layers.GlobalAveragePooling2D(name="pool")),
        "ends in the layer pool, a GlobalAveragePooling2D; it must end in a Dense layer of 3",
    ),
    "one output": (
        lambda: sequential(*body(layers.Dense(1, "sigmoid"))),
        r"returns \(None, 1\).* End it in Dense\(3, activation='softmax'\)",
    ),
    "any size": (
        lambda: keras.Sequential(
            [keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)]
        ),
        r"Fix the size: keras\.Sequential\(\[keras\.Input\(\(height, width, 3\)\), model\]\)",
    ),
    "not built": (lambda: keras.Sequential(body()), "a Sequential without a known input shape"),
    "two inputs": (
        lambda: keras.Model(
            two := [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))],
            layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Add()(two))),
        ),
        "has several inputs or outputs",
    ),
    "two outputs": (
        lambda: keras.Model(
            image := keras.Input((32, 32, 3)),
            [layers.Dense(3)(layers.Flatten()(image)), layers.Dense(3)(layers.Flatten()(image))],
        ),
        "has several inputs or outputs",
    ),
    "lambda": (
        lambda: sequential(layers.Lambda(lambda x: x / 255), *body()),
        "it has a Lambda layer, which would run code from the file",
    ),
}


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_models_name_the_layer_and_the_remedy(tmp_path: Path, name: str) -> None:
    build, message = REFUSED[name]
    build().save(tmp_path / "model.keras")
    with pytest.raises(TrainingError, match=message) as raised:
        read_keras_model(tmp_path / "model.keras", LABELS)
    assert "\n" not in str(raised.value)


class Halved(layers.Layer):  # type: ignore[misc]  # keras is not typed
    """A layer that another package would bring."""

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return inputs / 2


class Subclassed(keras.Model):  # type: ignore[misc]  # keras is not typed
    """A model whose graph is in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(3)

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return self.head(keras.ops.mean(inputs, axis=(1, 2)))


def test_foreign_classes_are_named(tmp_path: Path) -> None:
    subclassed = Subclassed()
    subclassed(np.zeros((1, 32, 32, 3), np.float32))
    for model, name in ((sequential(Halved(), *body()), "Halved"), (subclassed, "Subclassed")):
        model.save(tmp_path / "model.keras")
        with pytest.raises(TrainingError, match=f"class {name} is not part of Keras") as raised:
            read_keras_model(tmp_path / "model.keras", LABELS)
        assert "\n" not in str(raised.value)


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    sequential(*body()).save(tmp_path / "model.h5")
    old = (tmp_path / "model.h5").read_bytes()
    sequential(*body()).save(tmp_path / "whole.keras")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "renamed.keras").write_bytes(old)
    (tmp_path / "cut.keras").write_bytes((tmp_path / "whole.keras").read_bytes()[:5000])
    for name, message in (
        ("model.h5", r"is not a \.keras file\. Save the model with model\.save\('NAME\.keras'\)"),
        ("folder", r"is not a \.keras file"),
        ("folder.keras", "is not what model.save writes"),
        ("renamed.keras", "is not what model.save writes"),
        ("cut.keras", "is not what model.save writes"),
        ("missing.keras", "there is no such file"),
    ):
        with pytest.raises(TrainingError, match=message) as raised:
            read_keras_model(tmp_path / name, LABELS)
        assert "\n" not in str(raised.value)


def test_layer_that_cannot_be_copied_is_named() -> None:
    class Stubborn(layers.Layer):  # type: ignore[misc]  # keras is not typed
        def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
            return inputs

        def get_config(self) -> dict[str, object]:
            raise RuntimeError("no\nconfiguration")

    with pytest.raises(TrainingError, match="layer odd, a Stubborn, cannot be exported: no conf"):
        flat_copy(sequential(Stubborn(name="odd"), *body()))


def test_nested_model_that_cannot_be_copied_is_named() -> None:
    image = keras.Input((32, 32, 3))
    nested = keras.Model(image, layers.Conv2D(4, 3)(image), name="nested")
    model = functional(lambda image: nested(inputs=image))
    with pytest.raises(TrainingError, match="the layer nested, a Functional, cannot be exported"):
        flat_copy(model)


def test_quantised_layer_is_named() -> None:
    model = sequential(*body(layers.Dense(3, name="scores")))
    model.layers[-1].quantize("int8")
    with pytest.raises(TrainingError, match="the layer scores is quantised"):
        flat_copy(model)
