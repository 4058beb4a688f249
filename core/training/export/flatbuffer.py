"""Conversion of Keras models to LiteRT flatbuffers."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from core.bundle.config import Precision
from core.errors import TrainingError
from core.inference.engine import EXPLAIN, INPUT, PREDICT
from core.training.export.evidence_maps import EMBEDDING

__all__ = ["embedding_flatbuffer", "to_flatbuffer"]

logger = logging.getLogger(__name__)
# Common layers that are known to convert, so that a failed export need not try each of them.
_CONVERTIBLE = (
    *(layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.BatchNormalization, layers.ReLU),
    *(layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.Flatten),
    *(layers.Add, layers.Identity, layers.Reshape, layers.Rescaling),
)


def to_flatbuffer(model: keras.Model, precision: Precision) -> bytes:
    """Convert a model of `evidence_maps` to the content of model.tflite.

    Args:
        model: Model with the outputs of `gradient_model`, in float32.
        precision: Number format of the weights. int8 has one scale per output channel; LiteRT then
            computes convolutions in int8, with a dynamic scale for the activations of each image.

    Returns:
        A flatbuffer with the signatures that `core.inference.engine.Engine` expects.

    Raises:
        TrainingError: Keras runs on another backend than TensorFlow, which alone can export; or
            LiteRT does not support a layer.
    """
    explained = [name for name in ("maps", "features") if name in model.output]
    parts = {
        signature: keras.Model(model.input, {name: model.output[name] for name in names})
        for signature, names in ((PREDICT, ["logits", EMBEDDING]), (EXPLAIN, explained))
    }
    return _convert(model, parts, model.input_shape[1:], precision)


def embedding_flatbuffer(body: keras.Model, height: int, width: int) -> bytes:
    """Convert a network to a flatbuffer in float32 that computes embeddings only.

    Args:
        body: Network from images, possibly of any size, to embeddings.
        height: Height of the images that the flatbuffer takes, in pixels.
        width: Width of these images, in pixels.

    Returns:
        A flatbuffer with the signature `predict`.

    Raises:
        TrainingError: As in `to_flatbuffer`.
    """
    part = keras.Model(body.input, {EMBEDDING: body.outputs[0]})
    shape = (height, width, body.input_shape[-1])
    return _convert(body, {PREDICT: part}, shape, "float32")


def _convert(
    model: keras.Model,
    parts: Mapping[str, keras.Model],
    shape: tuple[int, ...],
    precision: Precision,
) -> bytes:
    """Convert parts of a model, each to the signature of its name.

    Args:
        model: The model.
        parts: Models of its layers by signature.
        shape: Height, width and number of channels of the images.
        precision: Number format of the weights.

    Raises:
        TrainingError: As in `to_flatbuffer`.
    """
    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Export needs TensorFlow, but Keras runs on {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf  # noqa: PLC0415  # need not be installed where JAX is the backend

    with _without_compiler_output():
        try:
            return _run_converter(tf, model, parts, shape, precision)
        except Exception as error:
            logger.debug("The converter failed", exc_info=error)
            raise TrainingError(_conversion_error(tf, model)) from None


def _run_converter(
    tf: Any,
    model: keras.Model,
    parts: Mapping[str, keras.Model],
    shape: tuple[int, ...],
    precision: Precision,
) -> bytes:
    image = tf.TensorSpec((None, *shape), tf.float32, name=INPUT)
    archive = keras.export.ExportArchive()
    archive.track(model)
    for signature, part in parts.items():
        archive.add_endpoint(signature, part.call, input_signature=[image])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        # Weights that the signatures share are stored once.
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(parts))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        flatbuffer: bytes = converter.convert()
    return flatbuffer


def _conversion_error(tf: Any, model: keras.Model) -> str:
    """Describe why a model could not be converted, naming the layer if it can be found."""
    layer = next((each for each in _all_layers(model) if not _is_convertible(tf, each)), None)
    culprit = "a layer" if layer is None else f"the layer {layer.name}, a {type(layer).__name__}"
    return (
        f"LiteRT does not support {culprit}. Remove or replace it before the export; set "
        "TENSIGHT_LOG_LEVEL=DEBUG to see the output of the converter."
    )


def _is_convertible(tf: Any, layer: keras.Layer) -> bool:
    """Check whether a layer can be converted on its own."""
    if isinstance(layer, _CONVERTIBLE):
        return True
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    signature = [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in inputs]
    archive = keras.export.ExportArchive()
    archive.track(layer)
    try:
        alone = keras.Model(layer.input, layer.output)
        call = alone.call if len(inputs) == 1 else lambda *each: alone.call(list(each))
        archive.add_endpoint("serve", call, input_signature=signature)
        with tempfile.TemporaryDirectory() as folder:
            archive.write_out(folder, verbose=False)
            tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"]).convert()
    except Exception:  # noqa: BLE001  # the converter raises bare exceptions
        return False
    return True


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield all layers except inputs, with those of nested models in place of the models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
        elif not isinstance(layer, layers.InputLayer):
            yield layer


@contextmanager
def _without_compiler_output() -> Iterator[None]:
    """Redirect the compiler's output on stderr, hundreds of lines at an error, to the log."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as output:
        original = os.dup(2)
        os.dup2(output.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            output.seek(0)
            logger.debug("Output of the converter: %s", output.read().decode(errors="replace"))
