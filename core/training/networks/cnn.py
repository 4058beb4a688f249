"""Network architectures: functional Keras models from normalised images to logits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

__all__ = [
    "Bias",
    "Shape",
    "baseline",
    "classic",
    "finetuned",
    "mobilenet",
    "scratch",
    "transfer",
    "transfer_head",
    "vgg16_scales",
    "whiten",
]

Shape = tuple[int | None, int | None, int]
"""Input shape (height, width, channels); None for any size."""

_WHITENING = "whitening"
_PATCH = 2


def baseline(shape: Shape, classes: int) -> keras.Model:
    """Build the first network of the student report: two convolutional and two dense layers.

    Padding `same` keeps a feature map of 8×8 cells for 32-pixel images, which is fine enough for
    evidence maps.

    Args:
        shape: (height, width, channels) of the input.
        classes: Number of logits.
    """
    x = inputs = layers.Input(shape, name="image")
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.BatchNormalization()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu", name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="baseline")


def classic(
    shape: Shape,
    classes: int,
    *,
    dropout: float = 0.4,
    batch_norm: bool = True,
    deeper: bool = False,
) -> keras.Model:
    """Build the best network of the student report that was trained from scratch.

    It has 161,098 parameters for 32-pixel images and ten classes.

    Args:
        shape: (height, width, channels) of the input.
        classes: Number of logits.
        dropout: Dropout rate of the hidden layer.
        batch_norm: Whether to normalise after each pooling layer.
        deeper: Whether to add a second convolution of 128 filters.
    """
    x = inputs = layers.Input(shape, name="image")
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        if deeper and filters == 128:
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        if batch_norm:
            x = layers.BatchNormalization()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu", name="embedding")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="classic")


@keras.saving.register_keras_serializable("tensight")
class Bias(layers.Layer):  # type: ignore[misc]  # keras is not typed
    """Layer that adds a trained bias to each channel."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Create the biases, initialised to 0."""
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Return the inputs plus the biases, with the same shape and dtype."""
        return inputs + self.bias


def scratch(shape: Shape, classes: int) -> keras.Model:
    """Build a network after the deepest one of airbench (Jordan 2024, arXiv 2404.00498).

    It differs from it: the bias after the whitening layer is always trained; batch normalisation
    has a momentum of 0.8 and an epsilon of 1e-5; the last layer has the default initialisation of
    Keras.

    The kernel of the first layer is random until `whiten` is called.

    Args:
        shape: (height, width, channels) of the input, at least 26 × 26.
        classes: Number of logits.
    """

    def convolution(x: Any, filters: int, *, pool: bool = False) -> Any:
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            # Uniform within ± 1 / sqrt(fan-in).
            kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        )(x)
        if pool:
            x = layers.MaxPooling2D(2)(x)
        return layers.BatchNormalization(momentum=0.8, epsilon=1e-5, scale=False)(x)

    x = inputs = layers.Input(shape, name="image")
    filters = 2 * shape[-1] * _PATCH**2
    x = layers.Conv2D(filters, _PATCH, use_bias=False, trainable=False, name=_WHITENING)(x)
    x = layers.Activation("gelu")(Bias()(x))
    for filters in (128, 384, 512):
        x = start = layers.Activation("gelu")(convolution(x, filters, pool=True))
        x = layers.Activation("gelu")(convolution(x, filters))
        x = layers.Activation("gelu")(layers.Add()([convolution(x, filters), start]))
    x = layers.Flatten(name="embedding")(layers.MaxPooling2D(3)(x))
    x = layers.Dense(classes, use_bias=False)(x)
    # In float32 whatever the dtype policy, since the loss takes logarithms.
    x = layers.Rescaling(1 / 9, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, x, name="scratch")
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.name != _WHITENING:
            kernel = np.array(layer.kernel)
            # The first filters are initialised to the identity (Dirac initialisation).
            kernel[..., : kernel.shape[2]] = 0
            for i in range(min(kernel.shape[2:])):
                kernel[1, 1, i, i] = 1
            layer.kernel.assign(kernel)
    return model


def whiten(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Initialise the first layer of `scratch` to whiten 2×2 patches of training images.

    Its kernels are the eigenvectors of the uncentred covariance of all patches, each divided by the
    square root of its eigenvalue plus 5e-4, and their negatives.

    Args:
        model: A network of `scratch`.
        images: Normalised images, shape (n, h, w, channels).
    """
    windows = np.lib.stride_tricks.sliding_window_view(images, (_PATCH, _PATCH), axis=(1, 2))
    # (n, h, w, channels, rows, columns) -> (patches, values) in the order of a kernel.
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, _PATCH**2 * images.shape[-1])
    covariance = patches.T.astype(np.float64) @ patches / len(patches)
    values, vectors = np.linalg.eigh(covariance)
    scaled = vectors / np.sqrt(values + 5e-4)
    kernel = np.concatenate([scaled, -scaled], axis=1)
    layer = model.get_layer(_WHITENING)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape))


_STAGES = (
    # Expansion, channels, blocks and stride of the first block: table 2 of the paper.
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet(shape: Shape, classes: int) -> keras.Model:
    """Build MobileNetV2 of width 1.0 (Sandler et al. 2018, arXiv 1801.04381).

    Batch normalisation is folded into the convolutions. Training then corresponds to training with
    fixed batch statistics, and takes less time and memory.

    Args:
        shape: (height, width, channels) of the input; height and width are multiples of 32, or None
            for any such size.
        classes: Number of logits.
    """

    def depthwise(x: Any, stride: int) -> Any:
        return layers.DepthwiseConv2D(3, stride, padding="same", activation="relu6")(x)

    def pointwise(x: Any, filters: int, activation: str | None = "relu6") -> Any:
        return layers.Conv2D(filters, 1, activation=activation)(x)

    inputs = layers.Input(shape, name="image")
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu6")(inputs)
    for expansion, filters, blocks, first_stride in _STAGES:
        for block in range(blocks):
            start = x
            if expansion > 1:
                x = pointwise(x, expansion * x.shape[-1])
            x = depthwise(x, first_stride if block == 0 else 1)
            x = pointwise(x, filters, activation=None)
            if block > 0:
                x = layers.Add()([start, x])
    x = pointwise(x, 1280)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    # In float32 whatever the dtype policy, since the loss takes logarithms.
    x = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, x, name="mobilenet")


_VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def transfer(shape: Shape, classes: int) -> keras.Model:
    """Build a frozen VGG16 with a new head: a hidden layer of 256 units and the logits.

    The input of the head is the layer `features`: the last block, and the means of the two blocks
    before it, which are less specific to ImageNet's classes.

    Args:
        shape: (height, width, channels) of the input, at least 32 × 32.
        classes: Number of logits.
    """
    inputs = layers.Input(shape, name="image")
    body = keras.applications.VGG16(include_top=False, weights=None, input_tensor=inputs)
    body.trainable = False
    means = [
        layers.GlobalAveragePooling2D()(body.get_layer(each).output)
        for each in ("block3_pool", "block4_pool")
    ]
    x = layers.Concatenate(name="features")([*means, layers.Flatten()(body.outputs[0])])
    return keras.Model(inputs, _hidden_and_logits(x, classes), name="vgg16_transfer")


def transfer_head(features: int, classes: int) -> keras.Model:
    """Build the head of `transfer` alone, with the same names of layers.

    Args:
        features: Length of the layer `features`.
        classes: Number of logits.
    """
    inputs = layers.Input((features,), name="features")
    return keras.Model(inputs, _hidden_and_logits(inputs, classes), name="transfer_head")


def _hidden_and_logits(x: Any, classes: int) -> Any:
    x = layers.Dense(256, activation="relu", name="embedding")(x)
    x = layers.Dropout(0.3)(x)
    # In float32 whatever the dtype policy, since the loss takes logarithms.
    return layers.Dense(classes, dtype="float32", name="logits")(x)


def finetuned(shape: Shape, classes: int) -> keras.Model:
    """Build VGG16 with a linear layer on the means of its last two blocks.

    The layer `features` is the concatenation of both feature maps, shape (n, height / 16,
    width / 16, 1024).

    Args:
        shape: (height, width, channels) of the input, at least 32 × 32.
        classes: Number of logits.
    """
    inputs = layers.Input(shape, name="image")
    body = keras.applications.VGG16(include_top=False, weights=None, input_tensor=inputs)
    blocks = [body.get_layer(name).output for name in ("block4_pool", "block5_conv3")]
    x = layers.Concatenate(name="features")(blocks)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    x = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, x, name="vgg16_finetuned")


def vgg16_scales(block_decay: float) -> dict[str, NDArray[np.float32]]:
    """Return discriminative learning rates as step factors by path of each variable of VGG16.

    Args:
        block_decay: Factor from one block to the one before it; that of the last block is 1.

    Returns:
        Arrays of shape (1,), float32.
    """
    return {
        f"block{block}_conv{i}/{name}": np.full(1, block_decay ** (len(_VGG16) - block), np.float32)
        for block, (_, convolutions) in enumerate(_VGG16, 1)
        for i in range(1, convolutions + 1)
        for name in ("kernel", "bias")
    }
