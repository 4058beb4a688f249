"""Add the outputs of serving to a trained network: logits, embedding and evidence maps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from core.errors import TrainingError
from core.training.export.gradients import backward

__all__ = ["EMBEDDING", "activation_model", "gradient_model", "occlusion_model", "with_maps"]

EMBEDDING = "embedding"
"""Name of the layer and of the output that the logits are computed from."""

# Smallest side of a feature map whose evidence maps are fine enough to be shown.
_MIN_CELLS = 7
# Largest side of a feature map for evidence maps by occlusion, whose cost grows with its square.
_MAX_OCCLUDED_CELLS = 32
# Side of the square of cells that is set to 0 at a time.
_OCCLUDED = 2


def gradient_model(model: keras.Model) -> keras.Model:
    """Add evidence maps by gradient times activation, computed in the graph of the network.

    The evidence for class k at a place is the activation there times the gradient of logit k with
    respect to it, summed over channels (gradient times input, Shrikumar et al. 2016, arXiv
    1605.01713). A network of convolutions, ReLU and pooling is piecewise linear, so the gradient is
    computed by backpropagation through the active units, and the maps sum to the logits up to the
    biases; GELU is linearised at its input. The activation is that of the deepest layer that has at
    least 7×7 cells and that all paths pass through.

    Backpropagation runs once for each class of each image. Networks with hundreds of classes should
    end in average pooling and one linear layer instead, for `activation_model`.

    Args:
        model: Network from images of a fixed size to logits, in float32, with a layer `embedding`;
            `gradients.backward` must support its layers after the activation.

    Returns:
        A model from `image` (n, h, w, 3) to a dictionary of `logits` (n, k), `embedding` (n, d) and
        `maps` (n, fh, fw, k).

    Raises:
        TrainingError: Backpropagation reaches an unsupported layer, or no layer is fine enough.
    """
    classes = model.outputs[0].shape[-1]
    identity = ops.ones_like(model.outputs[0][:, None, :]) * np.eye(classes, dtype=np.float32)
    # Gradients of the logits with respect to tensors, shape (n · k, ...), by id of the tensor. At
    # any time the logits depend on the image through these tensors alone.
    gradients = {id(model.outputs[0]): ops.reshape(identity, (-1, classes))}
    for layer in reversed(_operations(model)):
        gradient = gradients.pop(id(layer.output), None)
        if gradient is None:
            raise TrainingError(f"{layer.name} has several outputs, or is called several times.")
        if not gradients and _cells(layer) >= _MIN_CELLS:
            break
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        part = backward(layer, gradient, classes)
        for tensor in inputs:
            gradients[id(tensor)] = (
                gradients[id(tensor)] + part if id(tensor) in gradients else part
            )
    else:
        raise TrainingError(
            f"No layer of {model.name} has at least {_MIN_CELLS}×{_MIN_CELLS} cells, which "
            "evidence maps need."
        )
    height, width, channels = layer.output.shape[1:]
    gradient = ops.reshape(gradient, (-1, classes, height * width, channels))
    flat = ops.reshape(layer.output, (-1, 1, height * width, channels))
    evidence = ops.sum(flat * gradient, axis=-1)
    maps = ops.reshape(ops.transpose(evidence, (0, 2, 1)), (-1, height, width, classes))
    return with_maps(model, maps)


def occlusion_model(model: keras.Model) -> keras.Model:
    """Add evidence maps by occlusion, which needs no second copy of the kernels.

    The evidence for class k at a place is the decrease of logit k when 2×2 cells of the activation
    there are set to 0 (occlusion, Zeiler and Fergus 2014, arXiv 1311.2901, of an activation instead
    of the image). The layers above the activation run once for each place. The activation is that
    of the deepest layer that has 8×8 to 32×32 cells and that all paths pass through.

    Args:
        model: Network from images of a fixed size to logits, in float32, with a layer `embedding`.

    Returns:
        A model as `gradient_model` returns it; the maps have one cell less in each direction than
        the activation.

    Raises:
        TrainingError: No layer is fine enough, or some path bypasses every such layer.
    """
    fine = [
        layer
        for layer in _operations(model)
        if _cells(layer) > _MIN_CELLS and max(layer.output.shape[1:3]) <= _MAX_OCCLUDED_CELLS
    ]
    if not fine:
        raise TrainingError(
            f"No layer of {model.name} has more than {_MIN_CELLS}×{_MIN_CELLS} cells and at most "
            f"{_MAX_OCCLUDED_CELLS}×{_MAX_OCCLUDED_CELLS}."
        )
    for layer in reversed(fine):
        try:
            above = keras.Model(layer.output, model.outputs[0])
        except ValueError:
            continue  # some path bypasses it
        break
    else:
        raise TrainingError(
            f"In {model.name}, not all paths pass through one layer of more than "
            f"{_MIN_CELLS}×{_MIN_CELLS} cells and at most "
            f"{_MAX_OCCLUDED_CELLS}×{_MAX_OCCLUDED_CELLS}."
        )
    activation = layer.output
    height, width, channels = activation.shape[1:]
    down, right = height - _OCCLUDED + 1, width - _OCCLUDED + 1
    masks = np.ones((down, right, height, width, 1), np.float32)
    for y, x in np.ndindex(down, right):
        masks[y, x, y : y + _OCCLUDED, x : x + _OCCLUDED] = 0
    occluded = activation[:, None] * masks.reshape(1, -1, height, width, 1)
    without = above(ops.reshape(occluded, (-1, height, width, channels)))
    classes = model.outputs[0].shape[-1]
    decrease = model.outputs[0][:, None] - ops.reshape(without, (-1, down * right, classes))
    return with_maps(model, ops.reshape(decrease, (-1, down, right, classes)))


def activation_model(model: keras.Model) -> keras.Model:
    """Add class activation maps, for networks that end in average pooling and one linear layer.

    The evidence for class k at a place is the feature map there times the weights of logit k,
    divided by the number of places (Zhou et al. 2016, arXiv 1512.04150). It is exact: the maps sum
    to the logits without their biases.

    Args:
        model: Network from images of a fixed size to logits, in float32. Its last layers are
            `features`, shape (n, fh, fw, d), average pooling `embedding`, and the dense `logits`.

    Returns:
        A model as `gradient_model` returns it, with a further output `features`: the feature map
        (n, fh, fw, d), from which another head on the same embedding can compute its own maps.

    Raises:
        TrainingError: The network ends in other layers.
    """
    names = ["features", EMBEDDING, "logits"]
    kinds = (layers.GlobalAveragePooling2D, layers.Dense)
    last = model.layers[-3:]
    if [layer.name for layer in last] != names or not all(map(isinstance, last[1:], kinds)):
        raise TrainingError(
            f"{model.name} ends in {', '.join(layer.name for layer in last)}; class activation "
            f"maps need {', '.join(names)}: average pooling and one linear layer."
        )
    features = last[0].output
    height, width, _ = features.shape[1:]
    kernel = np.asarray(last[2].kernel)
    weights = (kernel / (height * width)).astype(np.float32)[None, None]
    return with_maps(model, ops.conv(features, weights, padding="valid"), features=features)


def with_maps(model: keras.Model, maps: Any, **more: Any) -> keras.Model:
    """Add evidence maps and the embedding to the outputs of a network.

    Args:
        model: Network from images to logits, with a layer `embedding`.
        maps: Evidence maps of this network, shape (n, fh, fw, k).
        more: Further outputs by name.

    Returns:
        A model as `gradient_model` returns it.
    """
    outputs = {"logits": model.outputs[0], "embedding": model.get_layer(EMBEDDING).output}
    return keras.Model(model.input, outputs | {"maps": maps} | more)


def _operations(model: keras.Model) -> list[Any]:
    """Return the layers of a model and the operations between them, each after its inputs."""
    return [each for each in model.operations if not isinstance(each, layers.InputLayer)]


def _cells(layer: Any) -> int:
    """Return the smaller side of a layer's feature map; 0 for another output."""
    shape = getattr(layer.output, "shape", ())
    return min(shape[1:3]) if len(shape) == 4 else 0
