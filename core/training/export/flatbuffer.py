"""From a trained Keras model to the flatbuffer that is served: logits, embedding, evidence maps."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from core.bundle.config import Precision
from core.errors import TrainingError
from core.inference.engine import EXPLAIN, INPUT, PREDICT

__all__ = [
    "EMBEDDING",
    "activation_model",
    "embedding_flatbuffer",
    "occlusion_model",
    "serving_model",
    "to_flatbuffer",
]

EMBEDDING = "embedding"
"""Name of the layer and of the output that logits are computed from."""

_MIN_CELLS = 7

logger = logging.getLogger(__name__)
# What most networks are made of; there is no need to try whether it can be converted.
_CONVERTIBLE = (
    *(layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.BatchNormalization, layers.ReLU),
    *(layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.Flatten),
    *(layers.Add, layers.Identity, layers.Reshape, layers.Rescaling),
)
# Cells that are hidden at a time, each way.
_HIDDEN = 2


def serving_model(model: keras.Model) -> keras.Model:
    """Add what serving shows beside the logits, computed in the graph: no gradient is needed.

    The evidence for class k at a place is the activation there times the slope of logit k with
    respect to it, summed over channels (gradient times input, Shrikumar et al. 2016). Between two
    kinks a network of convolutions, ReLU and pooling is linear, so the slope is found by going back
    through the units that fired, and the maps sum to the logits up to the layers' biases; of GELU,
    which has no kinks, it is the slope at what came in. The activation taken is the deepest one
    that has at least 7×7 cells and that all else goes through.

    The way back is gone once for each class of each image, so it suits tens of classes; for many
    more, a network should end in average pooling and one linear layer.

    Args:
        model: From images to logits, of a fixed size and in float32, with one layer named
            `embedding`; its last layers, from the activation taken on, of the kinds that `_back`
            knows.

    Returns:
        A model from `image` (n, h, w, 3) to a dict of `logits` (n, k), `embedding` (n, d) and
        `maps` (n, fh, fw, k).

    Raises:
        TrainingError: On the way back is a layer of another kind or make, or no layer is fine
            enough.
    """
    classes = model.outputs[0].shape[-1]
    identity = ops.ones_like(model.outputs[0][:, None, :]) * np.eye(classes, dtype=np.float32)
    # Slopes of the logits with respect to tensors, (n · k, ...): one way for each class of each
    # image. At any time these tensors together are all that the logits depend on.
    slopes = {id(model.outputs[0]): ops.reshape(identity, (-1, classes))}
    chain = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    for layer in reversed(chain):
        slope = slopes.pop(id(layer.output))
        if not slopes and _cells(layer) >= _MIN_CELLS:
            break
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        part = _back(layer, slope, classes)
        for tensor in inputs:
            slopes[id(tensor)] = slopes[id(tensor)] + part if id(tensor) in slopes else part
    else:
        raise TrainingError(f"No layer of {model.name} has {_MIN_CELLS}×{_MIN_CELLS} cells.")
    height, width, channels = layer.output.shape[1:]
    slope = ops.reshape(slope, (-1, classes, height * width, channels))
    flat = ops.reshape(layer.output, (-1, 1, height * width, channels))
    evidence = ops.sum(flat * slope, axis=-1)
    maps = ops.reshape(ops.transpose(evidence, (0, 2, 1)), (-1, height, width, classes))
    return keras.Model(
        model.input,
        {
            "logits": model.outputs[0],
            "embedding": model.get_layer("embedding").output,
            "maps": maps,
        },
    )


def occlusion_model(model: keras.Model) -> keras.Model:
    """As `serving_model`, for networks whose kernels are too large to be stored for a way back too.

    The evidence for class k at a place is how much logit k falls when 2×2 cells of the activation
    there are set to 0 (occlusion, Zeiler and Fergus 2014, of the activation in place of the image).
    The rest of the network answers once for each place. The activation is the deepest that has at
    least 8×8 cells and that all else goes through.

    Args:
        model: From images to logits, of a fixed size and in float32, with one layer named
            `embedding`.

    Returns:
        As there, the maps with one cell less each way than the activation.

    Raises:
        TrainingError: No layer is fine enough, or something goes past each that is.
    """
    chain = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    fine = [layer for layer in chain if _cells(layer) > _MIN_CELLS]
    if not fine:
        raise TrainingError(
            f"No layer of {model.name} has more than {_MIN_CELLS}×{_MIN_CELLS} cells."
        )
    for layer in reversed(fine):
        try:
            above = keras.Model(layer.output, model.outputs[0])
        except ValueError:
            continue  # something goes past it
        break
    else:
        raise TrainingError(
            f"Of {model.name}, not all goes through one layer of more than "
            f"{_MIN_CELLS}×{_MIN_CELLS} cells."
        )
    activation = layer.output
    height, width, channels = activation.shape[1:]
    down, right = height - _HIDDEN + 1, width - _HIDDEN + 1
    masks = np.ones((down, right, height, width, 1), np.float32)
    for y, x in np.ndindex(down, right):
        masks[y, x, y : y + _HIDDEN, x : x + _HIDDEN] = 0
    hidden = activation[:, None] * masks.reshape(1, -1, height, width, 1)
    without = above(ops.reshape(hidden, (-1, height, width, channels)))
    classes = model.outputs[0].shape[-1]
    fallen = model.outputs[0][:, None] - ops.reshape(without, (-1, down * right, classes))
    return keras.Model(
        model.input,
        {
            "logits": model.outputs[0],
            "embedding": model.get_layer("embedding").output,
            "maps": ops.reshape(fallen, (-1, down, right, classes)),
        },
    )


def activation_model(model: keras.Model) -> keras.Model:
    """As `serving_model`, for networks that end in average pooling and one linear layer.

    The evidence for class k at a place is the feature map there times the weights of logit k, over
    the number of places (class activation maps, Zhou et al. 2016, arXiv 1512.04150). It is exact:
    the maps sum to the logits without their biases.

    Args:
        model: From images to logits, of a fixed size and in float32; its last layers are
            `features`, shape (n, fh, fw, d), the average pooling `embedding` and the dense layer
            `logits`.

    Returns:
        As `serving_model` does; and `features`, the map behind the embedding, from which another
        head on the same embedding can make its own maps.

    Raises:
        TrainingError: The network does not end so.
    """
    names = ["features", "embedding", "logits"]
    kinds = (layers.GlobalAveragePooling2D, layers.Dense)
    last = model.layers[-3:]
    if [layer.name for layer in last] != names or not all(map(isinstance, last[1:], kinds)):
        raise TrainingError(
            f"{model.name} ends in {', '.join(layer.name for layer in last)}; for class activation "
            f"maps it must end in {', '.join(names)}: average pooling and one linear layer."
        )
    features = last[0].output
    height, width, _ = features.shape[1:]
    kernel = np.asarray(last[2].kernel)
    shares = (kernel / (height * width)).astype(np.float32)[None, None]
    return keras.Model(
        model.input,
        {
            "logits": model.outputs[0],
            "embedding": last[1].output,
            "maps": ops.conv(features, shares, padding="valid"),
            "features": features,
        },
    )


def to_flatbuffer(model: keras.Model, precision: Precision) -> bytes:
    """Content of model.tflite for a `serving_model`, with the signatures that `Engine` expects.

    Args:
        model: What to store.
        precision: Number format of the weights; int8 has one scale an output channel, and lets
            LiteRT compute convolutions in int8, for which each image gets a scale of its own.

    Raises:
        TrainingError: Keras runs on another backend than TensorFlow, which alone can export; or
            LiteRT does not know what a layer does.
    """
    explained = [name for name in ("maps", "features") if name in model.output]
    parts = {
        signature: keras.Model(model.input, {name: model.output[name] for name in names})
        for signature, names in ((PREDICT, ["logits", EMBEDDING]), (EXPLAIN, explained))
    }
    return _converted(model, parts, model.input_shape[1:], precision)


def embedding_flatbuffer(body: keras.Model, height: int, width: int) -> bytes:
    """Return a flatbuffer in float32 that gives embeddings alone, by the signature `predict`.

    Args:
        body: From images, which may be of any size, to embeddings.
        height: Of the images that the flatbuffer takes, pixels.
        width: Likewise.

    Raises:
        TrainingError: As in `to_flatbuffer`.
    """
    part = keras.Model(body.input, {EMBEDDING: body.outputs[0]})
    shape = (height, width, body.input_shape[-1])
    return _converted(body, {PREDICT: part}, shape, "float32")


def _converted(
    model: keras.Model,
    parts: Mapping[str, keras.Model],
    shape: tuple[int, ...],
    precision: Precision,
) -> bytes:
    """Return the flatbuffer of parts of a model, each by the signature of its name."""
    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Only TensorFlow can export, and Keras runs on {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf  # noqa: PLC0415  # with JAX as the backend it need not be there

    with _without_compiler_output():
        try:
            return _convert(tf, model, parts, shape, precision)
        except Exception as error:
            logger.debug("The converter failed", exc_info=error)
            raise TrainingError(_not_convertible(tf, model)) from None


def _convert(
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
        # It stores once what the signatures share.
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(parts))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        flatbuffer: bytes = converter.convert()
    return flatbuffer


def _not_convertible(tf: Any, model: keras.Model) -> str:
    """What is told of a model that the converter fails at: which layer it is."""
    bad = next((each for each in _all_layers(model) if not _is_convertible(tf, each)), None)
    what = "some layer" if bad is None else f"the layer {bad.name}, a {type(bad).__name__},"
    return (
        f"LiteRT cannot do what {what} does. Leave it out of the model that is exported, or put "
        "another one there; set TENSIGHT_LOG_LEVEL=DEBUG to see what the converter says."
    )


def _is_convertible(tf: Any, layer: keras.Layer) -> bool:
    """Whether a layer can be converted by itself."""
    if isinstance(layer, _CONVERTIBLE):
        return True
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    taken = [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in inputs]
    archive = keras.export.ExportArchive()
    archive.track(layer)
    try:
        alone = keras.Model(layer.input, layer.output)
        call = alone.call if len(taken) == 1 else lambda *each: alone.call(list(each))
        archive.add_endpoint("serve", call, input_signature=taken)
        with tempfile.TemporaryDirectory() as folder:
            archive.write_out(folder, verbose=False)
            tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"]).convert()
    except Exception:  # noqa: BLE001  # whatever the converter raises
        return False
    return True


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Every layer but inputs, those of models within the model too, and not these models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
        elif not isinstance(layer, layers.InputLayer):
            yield layer


@contextmanager
def _without_compiler_output() -> Iterator[None]:
    """Keep what the compiler writes to stderr, hundreds of lines at an error, for the log."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            logger.debug("The converter said: %s", said.read().decode(errors="replace"))


def _cells(layer: keras.Layer) -> int:
    shape = layer.output.shape
    return min(shape[1:3]) if len(shape) == 4 else 0


def _back(layer: keras.Layer, slope: Any, classes: int) -> Any:
    """Slope of the logits with respect to a layer's input, from that with respect to its output.

    Of a layer with several inputs it is the same for each.
    """
    match layer:
        case layers.Dropout() | layers.Identity():
            return slope
        case layers.Activation() if layer.activation is keras.activations.linear:
            return slope
        case layers.Activation() if layer.activation is keras.activations.gelu:
            return slope * _each_class(_slope_of_gelu(layer.input), classes)
        case layers.Add() if len({tensor.shape for tensor in layer.input}) == 1:
            return slope
        case layers.Rescaling() if layer.offset == 0:
            return slope * layer.scale
        case layers.GlobalAveragePooling2D() if not layer.keepdims:
            height, width = layer.input.shape[1:3]
            even = np.full((height, width, 1), 1 / (height * width), np.float32)
            return slope[:, None, None, :] * even
        case layers.Flatten():
            return ops.reshape(slope, (-1, *layer.input.shape[1:]))
        case layers.Dense():
            kernel = np.asarray(layer.kernel).T
            return ops.matmul(_through_activation(layer, slope, classes), kernel)
        case layers.BatchNormalization():
            gamma = np.asarray(layer.gamma) if layer.scale else np.float32(1)
            return slope * (gamma / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon))
        case layers.MaxPooling2D() if layer.pool_size == layer.strides and layer.padding == "valid":
            return _back_through_pooling(layer, slope, classes)
        case layers.DepthwiseConv2D() if (
            layer.padding == "same" and _odd(layer) and set(layer.dilation_rate) == {1}
        ):
            return _back_through_depthwise(layer, _through_activation(layer, slope, classes))
        case layers.Conv2D() if set(layer.strides + layer.dilation_rate) == {1} == {
            layer.groups
        } and (layer.padding == "valid" or _odd(layer)):
            slope = _through_activation(layer, slope, classes)
            kernel = np.asarray(layer.kernel)
            # The transposed convolution, written as a convolution: LiteRT runs it on any batch.
            flipped = np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
            if layer.padding == "valid":
                tall, wide = kernel.shape[0] - 1, kernel.shape[1] - 1
                slope = ops.pad(slope, ((0, 0), (tall, tall), (wide, wide), (0, 0)))
            return ops.conv(slope, flipped, padding=layer.padding)
    raise _unknown(layer)


def _odd(layer: keras.Layer) -> bool:
    """Whether the kernel's sides are odd; padding `same` is then alike on both sides."""
    return all(side % 2 == 1 for side in layer.kernel_size)


def _unknown(layer: keras.Layer) -> TrainingError:
    return TrainingError(
        f"Evidence maps cannot be led back through {layer.name}, a {type(layer).__name__} of this "
        "make. Known are Dense, Flatten, Dropout, BatchNormalization, GELU, Add of equal shapes, "
        "Rescaling without offset, GlobalAveragePooling2D, Conv2D of stride 1 in one group, "
        "DepthwiseConv2D of one filter a channel and padding `same`, with stride 1 or, from even "
        "sizes, 2, and MaxPooling2D whose windows lie side by side without padding; kernels padded "
        "`same` have odd sides and no dilation."
    )


def _back_through_depthwise(layer: keras.Layer, slope: Any) -> Any:
    kernel = np.asarray(layer.kernel)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    height, width, channels = layer.input.shape[1:]
    match layer.strides:
        case (1, 1) if kernel.shape[3] == 1:
            return ops.depthwise_conv(slope, flipped, padding="same")
        case (2, 2) if kernel.shape == (3, 3, channels, 1) and height % 2 == width % 2 == 0:
            # Padding then stands only after the image: outputs lie on its even rows and columns.
            grid = np.zeros((height, width, 1), np.float32)
            grid[::2, ::2] = 1
            spread = layers.UpSampling2D(2)(slope) * grid
            spread = ops.pad(spread, ((0, 0), (2, 0), (2, 0), (0, 0)))
            return ops.depthwise_conv(spread, flipped, padding="valid")
    raise _unknown(layer)


def _back_through_pooling(layer: keras.Layer, slope: Any, classes: int) -> Any:
    """Each window's slope goes to the cell that won; cells that tie share it.

    (Were each to get the whole, flat regions would count four times.)
    """
    height, width = layer.input.shape[1:3]
    tall, wide = layer.pool_size
    border = ((0, 0), (0, height % tall), (0, width % wide), (0, 0))
    enlarge = layers.UpSampling2D(layer.pool_size)
    won = ops.pad(enlarge(layer.output), border, constant_values=np.inf)
    fired = ops.cast(ops.equal(layer.input, won), "float32")
    winners = layers.AveragePooling2D(layer.pool_size)(fired) * (tall * wide)
    share = fired / ops.pad(enlarge(winners), border, constant_values=1.0)
    return ops.pad(enlarge(slope), border) * _each_class(share, classes)


def _through_activation(layer: keras.Layer, slope: Any, classes: int) -> Any:
    if layer.activation is keras.activations.relu:
        return slope * _each_class(ops.cast(layer.output > 0, "float32"), classes)
    if layer.activation is keras.activations.relu6:
        fired = ops.logical_and(layer.output > 0, layer.output < 6)
        return slope * _each_class(ops.cast(fired, "float32"), classes)
    if layer.activation is keras.activations.linear:
        return slope
    raise TrainingError(
        f"{layer.name} has the activation {layer.activation}; ReLU or ReLU6 is needed."
    )


def _slope_of_gelu(x: Any) -> Any:
    """Derivative of x Φ(x), right to .002: Φ by the formula with tanh (Hendrycks and Gimpel 2016).

    LiteRT has no erf, and the converter knows GELU again only where nothing else uses half of x.
    """
    root = float(np.sqrt(2 / np.pi))
    tanh = ops.tanh(root * (x + 0.044715 * x**3))
    density = (root / 2) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + tanh) + x * (density * (1 - tanh**2))


def _each_class(tensor: Any, classes: int) -> Any:
    """(n, ...) -> (n · k, ...), each image k times."""
    return ops.repeat(tensor, classes, axis=0)
