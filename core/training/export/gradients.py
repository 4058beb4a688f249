"""Backpropagation through the layers of a network, built from operations that LiteRT supports."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from core.errors import TrainingError

__all__ = ["backward"]


def backward(layer: keras.Layer, gradient: Any, classes: int) -> Any:
    """Build the gradient of the logits with respect to the input of a layer.

    Args:
        layer: A layer of a functional model.
        gradient: Gradient with respect to its output, shape (n · k, ...): k rows for each image.
        classes: Number of logits, k.

    Returns:
        Gradient of shape (n · k, ...). A layer with several inputs has the same one for each.

    Raises:
        TrainingError: The layer is not supported.
    """
    match layer:
        case layers.Dropout() | layers.Identity():
            return gradient
        case layers.Activation() if layer.activation is keras.activations.linear:
            return gradient
        case layers.Activation() if layer.activation is keras.activations.gelu:
            return gradient * _repeat_per_class(_gelu_derivative(layer.input), classes)
        case layers.Add() if len({tensor.shape for tensor in layer.input}) == 1:
            return gradient
        case layers.Rescaling() if layer.offset == 0:
            return gradient * layer.scale
        case layers.GlobalAveragePooling2D() if not layer.keepdims:
            height, width = layer.input.shape[1:3]
            even = np.full((height, width, 1), 1 / (height * width), np.float32)
            return gradient[:, None, None, :] * even
        case layers.Flatten():
            return ops.reshape(gradient, (-1, *layer.input.shape[1:]))
        case layers.Dense():
            kernel = np.asarray(layer.kernel).T
            return ops.matmul(_backward_activation(layer, gradient, classes), kernel)
        case layers.BatchNormalization():
            gamma = np.asarray(layer.gamma) if layer.scale else np.float32(1)
            return gradient * (gamma / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon))
        case layers.MaxPooling2D() if layer.pool_size == layer.strides and layer.padding == "valid":
            return _backward_pooling(layer, gradient, classes)
        case layers.DepthwiseConv2D() if (
            layer.padding == "same" and _has_odd_kernel(layer) and set(layer.dilation_rate) == {1}
        ):
            return _backward_depthwise(layer, _backward_activation(layer, gradient, classes))
        case layers.Conv2D() if set(layer.strides + layer.dilation_rate) == {1} == {
            layer.groups
        } and (layer.padding == "valid" or _has_odd_kernel(layer)):
            gradient = _backward_activation(layer, gradient, classes)
            kernel = np.asarray(layer.kernel)
            # The transposed convolution as a convolution, which LiteRT runs at any batch size.
            flipped = np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
            if layer.padding == "valid":
                tall, wide = kernel.shape[0] - 1, kernel.shape[1] - 1
                gradient = ops.pad(gradient, ((0, 0), (tall, tall), (wide, wide), (0, 0)))
            return ops.conv(gradient, flipped, padding=layer.padding)
    raise _unsupported(layer)


def _has_odd_kernel(layer: keras.Layer) -> bool:
    """Check whether the kernel has odd sides, which makes padding `same` symmetric."""
    return all(side % 2 == 1 for side in layer.kernel_size)


def _unsupported(layer: keras.Layer) -> TrainingError:
    return TrainingError(
        f"Evidence maps cannot be computed through the layer {layer.name}, a "
        f"{type(layer).__name__} with these settings. Supported are Dense, Flatten, Dropout, "
        "BatchNormalization, GELU, Add of equal shapes, Rescaling without offset, "
        "GlobalAveragePooling2D, Conv2D of stride 1 in one group, DepthwiseConv2D of one filter "
        "per channel and padding `same`, with stride 1 or, at even sizes, 2, and MaxPooling2D with "
        "adjacent windows and without padding; kernels with padding `same` must have odd sides and "
        "no dilation."
    )


def _backward_depthwise(layer: keras.Layer, gradient: Any) -> Any:
    """Build the transposed depthwise convolution as a convolution, at stride 1 or 2.

    Raises:
        TrainingError: The layer has another stride, an odd size at stride 2, or several filters
            per channel.
    """
    kernel = np.asarray(layer.kernel)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    height, width, channels = layer.input.shape[1:]
    match layer.strides:
        case (1, 1) if kernel.shape[3] == 1:
            return ops.depthwise_conv(gradient, flipped, padding="same")
        case (2, 2) if kernel.shape == (3, 3, channels, 1) and height % 2 == width % 2 == 0:
            # At even sizes `same` pads only at the end: outputs lie at even rows and columns.
            grid = np.zeros((height, width, 1), np.float32)
            grid[::2, ::2] = 1
            spread = layers.UpSampling2D(2)(gradient) * grid
            spread = ops.pad(spread, ((0, 0), (2, 0), (2, 0), (0, 0)))
            return ops.depthwise_conv(spread, flipped, padding="valid")
    raise _unsupported(layer)


def _backward_pooling(layer: keras.Layer, gradient: Any, classes: int) -> Any:
    """Route the gradient of each window to its maximum; tied cells share it.

    If each tied cell got all of it, flat regions would count several times.
    """
    height, width = layer.input.shape[1:3]
    tall, wide = layer.pool_size
    border = ((0, 0), (0, height % tall), (0, width % wide), (0, 0))
    enlarge = layers.UpSampling2D(layer.pool_size)
    maxima = ops.pad(enlarge(layer.output), border, constant_values=np.inf)
    active = ops.cast(ops.equal(layer.input, maxima), "float32")
    ties = layers.AveragePooling2D(layer.pool_size)(active) * (tall * wide)
    share = active / ops.pad(enlarge(ties), border, constant_values=1.0)
    return ops.pad(enlarge(gradient), border) * _repeat_per_class(share, classes)


def _backward_activation(layer: keras.Layer, gradient: Any, classes: int) -> Any:
    """Build the gradient with respect to the input of a layer's activation function.

    Raises:
        TrainingError: The activation is not linear, ReLU or ReLU6.
    """
    if layer.activation is keras.activations.relu:
        return gradient * _repeat_per_class(ops.cast(layer.output > 0, "float32"), classes)
    if layer.activation is keras.activations.relu6:
        active = ops.logical_and(layer.output > 0, layer.output < 6)
        return gradient * _repeat_per_class(ops.cast(active, "float32"), classes)
    if layer.activation is keras.activations.linear:
        return gradient
    raise TrainingError(
        f"{layer.name} has the activation {layer.activation}; evidence maps need ReLU or ReLU6."
    )


def _gelu_derivative(x: Any) -> Any:
    """Return the derivative of x Φ(x) to within 0.002, by the tanh approximation of Φ.

    Hendrycks and Gimpel 2016, arXiv 1606.08415. LiteRT has no erf, and the converter recognises
    GELU only where no other operation uses its intermediate results.
    """
    root = float(np.sqrt(2 / np.pi))
    tanh = ops.tanh(root * (x + 0.044715 * x**3))
    density = (root / 2) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + tanh) + x * (density * (1 - tanh**2))


def _repeat_per_class(tensor: Any, classes: int) -> Any:
    """Repeat each image k times: (n, ...) to (n · k, ...)."""
    return ops.repeat(tensor, classes, axis=0)
