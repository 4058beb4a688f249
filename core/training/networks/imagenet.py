"""Weights that others trained, and that a network here begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers
from numpy.typing import NDArray

from core.errors import DataError
from core.settings import Settings

__all__ = ["load_mobilenet", "read_mobilenet"]

_FILE = "mobilenet_v2/mobilenet_v2_1.0_224_int8.tflite"
_CONVOLUTIONS = 52
"""Of the body; one more gives the 1,001 outputs."""


def load_mobilenet(model: keras.Model, settings: Settings) -> None:
    """Set the convolutions of `cnn.mobilenet` to their ImageNet weights.

    Args:
        model: The network; its last layer keeps what it has.
        settings: The file is looked for in the folder of TENSIGHT_DATA.

    Raises:
        DataError: TENSIGHT_DATA is unset, or the file is missing or another one.
    """
    file = _file(settings)
    weights = read_mobilenet(file)
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    convolutions = [layer for layer in model.layers if isinstance(layer, kinds)]
    shapes = [tuple(layer.kernel.shape) for layer in convolutions]
    found = [kernel.shape for kernel, _ in weights[: len(shapes)]]
    if shapes != found or len(shapes) != _CONVOLUTIONS:
        raise DataError(
            f"{file} is not MobileNetV2 of width 1.0: its {len(weights)} convolutions have other "
            f"shapes than the {len(shapes)} of {model.name}."
        )
    for layer, (kernel, bias) in zip(convolutions, weights, strict=False):
        layer.set_weights([kernel, bias])


def read_mobilenet(file: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Kernels and biases of all convolutions of a quantised flatbuffer, in graph order.

    Args:
        file: Flatbuffer whose kernels are int8 with one scale an output channel, and whose biases
            are int32 in units of the input's scale times the kernel's.

    Returns:
        A kernel of shape (height, width, in, out), or (height, width, channels, 1) for a depthwise
        convolution, and a bias of shape (out,) for each.

    Raises:
        DataError: The file is missing or no such flatbuffer.
    """
    try:
        interpreter = Interpreter(
            str(file),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        details = interpreter.get_tensor_details()
        kernels = [_real(interpreter, tensor) for tensor in details if _is(tensor, np.int8, 4)]
        biases = [_real(interpreter, tensor) for tensor in details if _is(tensor, np.int32, 1)]
        pairs = list(zip(kernels, biases, strict=True))
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{file} cannot be read as a quantised flatbuffer: {error}") from error
    return [
        # LiteRT keeps (out, height, width, in), and (1, height, width, channels) where depthwise.
        (kernel.transpose(1, 2, 3, 0), bias)
        for kernel, bias in pairs
    ]


def _file(settings: Settings) -> Path:
    if settings.data is None:
        raise DataError(
            f"MobileNetV2 begins with ImageNet weights. Set TENSIGHT_DATA to a folder with {_FILE}."
        )
    return settings.data / _FILE


def _is(tensor: dict[str, Any], dtype: type, axes: int) -> bool:
    """Whether a tensor is one of the weights: only those have a scale a channel."""
    scales = tensor["quantization_parameters"]["scales"]
    return tensor["dtype"] is dtype and len(tensor["shape"]) == axes and len(scales) > 1


def _real(interpreter: Interpreter, tensor: dict[str, Any]) -> NDArray[np.float32]:
    quantised = interpreter.get_tensor(tensor["index"]).astype(np.float32)
    parameters = tensor["quantization_parameters"]
    shape = [1] * quantised.ndim
    shape[parameters["quantized_dimension"]] = -1
    zero = parameters["zero_points"].reshape(shape)
    real: NDArray[np.float32] = (quantised - zero) * parameters["scales"].reshape(shape)
    return real.astype(np.float32)
