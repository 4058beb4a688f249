"""ImageNet weights of MobileNetV2, from a quantised flatbuffer."""

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
"""Number of convolutions below the one that computes the 1,001 outputs."""


def load_mobilenet(model: keras.Model, settings: Settings) -> None:
    """Set the convolutions of `cnn.mobilenet` to their ImageNet weights.

    Args:
        model: The network; its last layer keeps its weights.
        settings: The file is read from the folder of TENSIGHT_DATA.

    Raises:
        DataError: TENSIGHT_DATA is unset, or the file is missing or belongs to another network.
    """
    file = _file(settings)
    weights = read_mobilenet(file)
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    convolutions = [layer for layer in model.layers if isinstance(layer, kinds)]
    shapes = [tuple(layer.kernel.shape) for layer in convolutions]
    found = [kernel.shape for kernel, _ in weights[: len(shapes)]]
    if shapes != found or len(shapes) != _CONVOLUTIONS:
        raise DataError(
            f"{file} is not MobileNetV2 of width 1.0: the shapes of its {len(weights)} "
            f"convolutions differ from those of the {len(shapes)} of {model.name}."
        )
    for layer, (kernel, bias) in zip(convolutions, weights, strict=False):
        layer.set_weights([kernel, bias])


def read_mobilenet(file: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read kernels and biases of all convolutions of a quantised flatbuffer, in graph order.

    Args:
        file: Flatbuffer with int8 kernels, one scale per output channel, and int32 biases in units
            of the product of input scale and kernel scale.

    Returns:
        For each convolution a kernel, shape (height, width, in, out), or (height, width, channels,
        1) if depthwise, and a bias, shape (out,), both float32.

    Raises:
        DataError: The file is missing or not such a flatbuffer.
    """
    try:
        interpreter = Interpreter(
            str(file),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        details = interpreter.get_tensor_details()
        kernels = [_dequantise(interpreter, t) for t in details if _is_weight(t, np.int8, 4)]
        biases = [_dequantise(interpreter, t) for t in details if _is_weight(t, np.int32, 1)]
        pairs = list(zip(kernels, biases, strict=True))
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{file} cannot be read as a quantised flatbuffer: {error}") from error
    return [
        # LiteRT stores (out, height, width, in), or (1, height, width, channels) if depthwise.
        (kernel.transpose(1, 2, 3, 0), bias)
        for kernel, bias in pairs
    ]


def _file(settings: Settings) -> Path:
    if settings.data is None:
        raise DataError(
            f"The ImageNet weights of MobileNetV2 are missing. Set TENSIGHT_DATA to a folder with "
            f"{_FILE}."
        )
    return settings.data / _FILE


def _is_weight(tensor: dict[str, Any], dtype: type, axes: int) -> bool:
    """Check whether a tensor is a weight: only these have one scale per channel."""
    scales = tensor["quantization_parameters"]["scales"]
    return tensor["dtype"] is dtype and len(tensor["shape"]) == axes and len(scales) > 1


def _dequantise(interpreter: Interpreter, tensor: dict[str, Any]) -> NDArray[np.float32]:
    quantised = interpreter.get_tensor(tensor["index"]).astype(np.float32)
    parameters = tensor["quantization_parameters"]
    shape = [1] * quantised.ndim
    shape[parameters["quantized_dimension"]] = -1
    zero = parameters["zero_points"].reshape(shape)
    real: NDArray[np.float32] = (quantised - zero) * parameters["scales"].reshape(shape)
    return real.astype(np.float32)
