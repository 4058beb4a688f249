"""Input gradients, the baseline of the grid pointing game."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from core.photos.preprocess import InputSpec, normalise

__all__ = ["input_gradient"]


def input_gradient(
    model: keras.Model, spec: InputSpec
) -> Callable[[NDArray[np.uint8], int], NDArray[np.float32]]:
    """Return a function that computes the gradient of a logit with respect to an image.

    It is the saliency map of Simonyan, Vedaldi and Zisserman 2013, arXiv 1312.6034, with the
    magnitudes of the three channels added. Needs the TensorFlow backend.

    Args:
        model: Network from images to logits.
        spec: Size and normalisation of the images.

    Returns:
        A function of an image, shape (h, w, 3), uint8, and a class index. It returns the magnitude
        of the gradient at each pixel, shape (h, w), float32.
    """
    import tensorflow as tf  # noqa: PLC0415  # need not be installed where JAX is the backend

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def gradient(pixels: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logit = model(pixels, training=False)[0, label]
        return tape.gradient(logit, pixels)

    def explain(image: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        pixels = tf.constant(normalise(image[None], spec))
        gradients = np.asarray(gradient(pixels, tf.constant(label)))[0]
        return np.asarray(np.abs(gradients).sum(axis=-1), np.float32)

    return explain
