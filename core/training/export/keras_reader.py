"""Read a Keras model that was trained elsewhere, and rebuild it in a form that can be exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from core.errors import TrainingError
from core.training.export.evidence_maps import (
    EMBEDDING,
    gradient_model,
    occlusion_model,
    with_maps,
)

__all__ = ["add_outputs", "read_keras_model"]

# Names, and a prefix of names, of layers that have no effect after training. Names, because not
# every version of Keras has all of these classes.
_TRAINING_ONLY = {
    *("ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "GaussianDropout"),
    *("GaussianNoise", "MixUp", "RandAugment", "SpatialDropout1D", "SpatialDropout2D"),
}
_RANDOM = "Random"
# At inference it crops the centre, so it cannot be removed.
_NOT_TRAINING_ONLY = {"RandomCrop"}


def read_keras_model(file: Path, labels: tuple[str, ...]) -> tuple[keras.Model, keras.Model]:
    """Read a model file.

    Args:
        file: A `.keras` file: a model from images (n, h, w, 3) of a fixed size to logits or
            probabilities (n, k) that ends in a dense layer.
        labels: Name of each output.

    Returns:
        The model as it is; and a copy from images to logits without layers of data augmentation,
        with a layer `embedding` before the logits.

    Raises:
        TrainingError: The file cannot be read, or is not such a model.
    """
    model = _load(file)
    _check_shapes(file, model, labels)
    served = _without_augmentation(model) if any(map(_is_augmentation, _layers(model))) else model
    last = _logits_layer(served)
    activations = (keras.activations.softmax, keras.activations.linear)
    if not isinstance(last, layers.Dense) or last.activation not in activations:
        raise TrainingError(
            f"{file} ends in {last.name}, a {type(last).__name__}; it must end in a Dense layer, "
            "with or without a softmax: as its activation, as Activation('softmax') or as a "
            "Softmax layer."
        )
    # The exporter finds the embedding by the name of its layer.
    embedding = layers.Activation("linear", name=EMBEDDING)(last.input)
    head = layers.Dense(len(labels), use_bias=last.use_bias, name="logits")
    rebuilt = keras.Model(served.inputs, head(embedding))
    head.set_weights(last.get_weights())
    return model, rebuilt


def _load(file: Path) -> Any:
    """Load what a `.keras` file contains, without running code from it.

    Raises:
        TrainingError: The file cannot be read, or has an older format.
    """
    if file.suffix != ".keras":
        raise TrainingError(
            f"{file} is not a .keras file. Save the model with model.save('NAME.keras'); reading a "
            "file of an older format can run arbitrary code."
        )
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{file} cannot be read as a Keras model: {error}") from error


def _check_shapes(file: Path, model: Any, labels: tuple[str, ...]) -> None:
    """Check that a model takes images of a fixed size and has one output for each label.

    Raises:
        TrainingError: It has other shapes.
    """
    taken: Any = getattr(model, "input_shape", None)
    given = getattr(model, "output_shape", None)
    is_fixed = isinstance(taken, tuple) and len(taken) == 4 and None not in taken[1:]
    if not is_fixed or taken[3] != 3 or given != (None, len(labels)):
        raise TrainingError(
            f"{file} takes the shape {taken} and returns {given}; expected images (None, height, "
            f"width, 3) and (None, {len(labels)}), an output for each of the labels "
            f"{', '.join(labels)}."
        )


def add_outputs(model: keras.Model) -> keras.Model:
    """Add the outputs of serving, with the finest evidence maps that the network allows.

    Where it allows none, the maps have one cell, and `Classifier` returns no saliency maps.

    Args:
        model: The second model of `read_keras_model`.

    Returns:
        A model as `evidence_maps.gradient_model` returns it.
    """
    for add in (gradient_model, occlusion_model):
        try:
            return add(model)
        except TrainingError:
            continue
    logits = model.outputs[0]
    return with_maps(model, ops.reshape(logits, (-1, 1, 1, logits.shape[-1])))


def _logits_layer(model: keras.Model) -> Any:
    """Return the operation that computes the logits, before any softmax or dropout."""
    last = model.outputs[0]._keras_history.operation
    while _is_softmax(last) or isinstance(last, layers.Identity | layers.Dropout):
        last = last.input._keras_history.operation
    return last


def _is_softmax(operation: Any) -> bool:
    """Check for a softmax in any form, or a linear activation, which changes nothing."""
    if isinstance(operation, layers.Activation):
        return operation.activation in (keras.activations.softmax, keras.activations.linear)
    # A layer, or the operation that `keras.ops.softmax` adds to a model.
    return type(operation).__name__ == "Softmax"


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield all layers, and those of nested models after the models."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _is_augmentation(layer: keras.Layer) -> bool:
    """Check whether a layer of Keras has an effect in training only."""
    name = type(layer).__name__
    is_keras = type(layer).__module__.partition(".")[0] == "keras"
    return is_keras and (
        name in _TRAINING_ONLY or (name.startswith(_RANDOM) and name not in _NOT_TRAINING_ONLY)
    )


def _without_augmentation(model: keras.Model) -> keras.Model:
    """Copy a model without its augmentation layers, whose random operations LiteRT lacks."""

    def copy(layer: Any) -> Any:
        if _is_augmentation(layer):
            return layers.Identity(name=layer.name)
        if isinstance(layer, keras.Model):
            return _without_augmentation(layer)
        return type(layer).from_config(layer.get_config())

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied
