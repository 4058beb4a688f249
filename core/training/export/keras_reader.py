"""Read a Keras model that was trained elsewhere, and rebuild it in a form that can be exported."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from core.errors import TrainingError
from core.training.export.evidence_maps import (
    EMBEDDING,
    gradient_model,
    occlusion_model,
    with_maps,
)
from core.training.export.flat_copy import flat_copy

__all__ = ["add_outputs", "read_keras_model"]

_LOGITS = "logits"
_FOREIGN_CLASS = re.compile(r"Could not locate class '([^']+)'")
_MAX_REASON_CHARACTERS = 300


def read_keras_model(file: Path, labels: tuple[str, ...]) -> tuple[keras.Model, keras.Model]:
    """Read a model file.

    Args:
        file: A `.keras` file: a Sequential or functional model from images (n, h, w, 3) of a fixed
            size to logits or probabilities (n, k) that ends in a dense layer.
        labels: Name of each output.

    Returns:
        The model as it is; and a copy from images to logits in one graph, without layers of data
        augmentation, with a layer `embedding` before the logits.

    Raises:
        TrainingError: The file cannot be read, or is not such a model.
    """
    model = _load(file)
    _check_shapes(file, model, labels)
    try:
        served = flat_copy(model, reserved=(EMBEDDING, _LOGITS))
        last = _logits_layer(served)
        _check_logits_layer(last, len(labels))
    except TrainingError as error:
        raise TrainingError(f"{file}: {error}") from error
    # Before the logits, the exporter finds the embedding by the name of its layer.
    embedding = last.input
    if len(embedding.shape) > 2:
        embedding = layers.Flatten()(embedding)
    embedding = layers.Activation("linear", name=EMBEDDING)(embedding)
    head = layers.Dense(len(labels), use_bias=last.use_bias, name=_LOGITS)
    rebuilt = keras.Model(served.inputs[0], head(embedding))
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
    if not zipfile.is_zipfile(file):
        raise TrainingError(
            f"{file} cannot be read as a Keras model: "
            f"{'it is not what model.save writes' if file.exists() else 'there is no such file'}."
        )
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    # What the file contains decides where in Keras, and how, reading it fails.
    except Exception as error:
        raise TrainingError(f"{file} cannot be read as a Keras model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Describe in one line why Keras could not read a file."""
    text = " ".join(str(error).split())
    if foreign := _FOREIGN_CLASS.search(text):
        return (
            f"the layer class {foreign[1]} is not part of Keras. Replace such layers by layers of "
            "Keras, and save the model again."
        )
    if "Lambda" in text:
        return (
            "it has a Lambda layer, which would run code from the file. Replace it by a layer of "
            "Keras, such as Rescaling, and save the model again."
        )
    return text[:_MAX_REASON_CHARACTERS]


def _check_shapes(file: Path, model: Any, labels: tuple[str, ...]) -> None:
    """Check that a model takes images of a fixed size and has one output for each label.

    Raises:
        TrainingError: It has other shapes, or none that can be known without running it.
    """
    try:
        taken, given = model.input_shape, model.output_shape
    # Also models that have not been built, and what is no model at all.
    except (AttributeError, ValueError):
        taken = given = None
    if taken is None or not hasattr(model, "inputs"):
        raise TrainingError(
            f"{file} contains a {type(model).__name__} without a known input shape. Build the "
            "model from keras.Input((height, width, 3)), as a Sequential or a functional model, "
            "and save it again."
        )
    if isinstance(taken, list | dict) or isinstance(given, list | dict):
        raise TrainingError(
            f"{file} has several inputs or outputs: it takes {taken} and returns {given}. Save a "
            "model of one of each: keras.Model(model.inputs[0], model.outputs[0])."
        )
    if len(taken) != 4 or None in taken[1:] or taken[3] != 3 or given[1:] != (len(labels),):
        hint = ""
        if len(taken) == 4 and taken[1:3] == (None, None):
            hint = " Fix the size: keras.Sequential([keras.Input((height, width, 3)), model])."
        elif given[1:] == (1,):
            hint = f" End it in Dense({len(labels)}, activation='softmax') and train it again."
        raise TrainingError(
            f"{file} takes the shape {taken} and returns {given}; expected images (None, height, "
            f"width, 3) of a fixed size and (None, {len(labels)}), an output for each of the "
            f"labels {', '.join(labels)}.{hint}"
        )


def _check_logits_layer(last: Any, count: int) -> None:
    """Check that the logits come from a dense layer whose outputs are not changed afterwards.

    Raises:
        TrainingError: They come from elsewhere.
    """
    kind = type(last).__name__
    if isinstance(last, layers.Dense | layers.Activation):
        function = getattr(last.activation, "__name__", str(last.activation))
        if function == "sigmoid":
            raise TrainingError(
                f"the layer {last.name} gives each label a probability of its own (sigmoid). A "
                "photo has one label here: replace the sigmoid by a softmax over all labels, train "
                "again with categorical cross-entropy, and save it."
            )
        kind = f"{kind} with the activation {function}"
    is_linear = isinstance(last, layers.Dense) and last.activation in (
        keras.activations.softmax,
        keras.activations.linear,
    )
    if not is_linear or int(np.prod(last.output.shape[1:])) != count:
        raise TrainingError(
            f"the model ends in the layer {last.name}, a {kind}; it must end in a Dense layer of "
            f"{count} outputs, with or without a softmax: as its activation, as "
            "Activation('softmax') or as a Softmax layer."
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
    """Return the operation that computes the logits, before any softmax, dropout or reshaping."""
    last = model.outputs[0]._keras_history.operation
    unchanged = layers.Identity | layers.Dropout | layers.Reshape | layers.Flatten
    while _is_softmax(last) or isinstance(last, unchanged):
        last = last.input._keras_history.operation
    return last


def _is_softmax(operation: Any) -> bool:
    """Check for a softmax in any form, or a linear activation, which changes nothing."""
    if isinstance(operation, layers.Activation):
        return operation.activation in (keras.activations.softmax, keras.activations.linear)
    # A layer, or the operation that `keras.ops.softmax` adds to a model.
    return type(operation).__name__ == "Softmax"
