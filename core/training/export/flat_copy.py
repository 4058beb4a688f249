"""Copy a Keras model into one graph of layers that are each called once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from core.errors import TrainingError

__all__ = ["flat_copy"]

# Names, and a prefix of names, of layers that have no effect after training. Names, because not
# every version of Keras has all of these classes.
_TRAINING_ONLY = {
    *("ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "GaussianDropout"),
    *("GaussianNoise", "MixUp", "RandAugment", "Solarization", "SpatialDropout1D"),
    "SpatialDropout2D",
}
_RANDOM = "Random"
# Its output has another size than its input, and versions of Keras differ in what they keep.
_CROP = "RandomCrop"
_HALF_PRECISION = {"float16", "bfloat16"}


def flat_copy(model: keras.Model, reserved: Iterable[str] = ()) -> keras.Model:
    """Copy a model with the layers of nested models in place of these models.

    A loaded Sequential and a nested model have called their layers several times, so `layer.output`
    may belong to another graph; and a layer that is used twice has two outputs. In the copy each
    layer is called once. Layers with an effect in training only, whose random operations LiteRT
    lacks, are left out, and layers of mixed precision compute in float32.

    Args:
        model: A Sequential or functional model with one input and one output, whose shape is known.
        reserved: Names that no layer of the copy shall have.

    Returns:
        A functional model from float32 images of the same size, in batches of any number.

    Raises:
        TrainingError: A layer cannot be copied.
    """
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(image, _Copier(reserved).inline(model, image))


class _Copier:
    """Calls copies of layers on new tensors."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._names = set(reserved)

    def inline(self, model: Any, tensor: Any) -> Any:
        """Call copies of the layers of a model, one after another or along its graph."""
        if isinstance(model, keras.Sequential):
            return self._chain(model.layers, tensor)
        end = layers.Identity()
        found = []

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            # The outputs of the model that `clone_model` returns may belong to yet another graph.
            if layer is end:
                found.append(args[0])
                return args[0]
            return self._call(layer, *args, **kwargs)

        keras.models.clone_model(
            keras.Model(model.inputs[0], end(model.outputs[0])),
            input_tensors=tensor,
            clone_function=lambda layer: layer,
            call_function=call,
        )
        return found[0]

    def _chain(self, chain: Iterable[Any], tensor: Any) -> Any:
        for layer in chain:
            tensor = self._call(layer, tensor)
        return tensor

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a copy of a layer, or those of the layers that it consists of."""
        if _is_identity(layer, *args):
            return args[0]
        if type(layer).__name__ == "Pipeline" and _is_keras(layer):
            return self._chain(layer.layers, args[0])
        if getattr(layer, "quantization_mode", None):
            raise TrainingError(
                f"the layer {layer.name} is quantised. Save the model before model.quantize; the "
                "export quantises with --precision int8."
            )
        try:
            if _is_graph(layer):
                return self._inline_nested(layer, args)
            return self._call_copy(layer, args, kwargs)
        except TrainingError:
            raise
        # Layers of other packages raise whatever they like.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"the layer {layer.name}, a {type(layer).__name__}, cannot be exported: "
                f"{reason or type(error).__name__}. Replace it by layers of Keras, or remove it, "
                "and save the model again."
            ) from error

    def _inline_nested(self, model: Any, args: tuple[Any, ...]) -> Any:
        """Inline a model that was called with a tensor, or with a list or dictionary of one."""
        (tensor,) = keras.tree.flatten(args)
        output = self.inline(model, tensor)
        return keras.tree.pack_sequence_as(_output_structure(model), [output])

    def _call_copy(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        config = layer.get_config()
        config["name"] = self._free_name(layer.name)
        if getattr(layer, "compute_dtype", None) in _HALF_PRECISION:
            config["dtype"] = "float32"
        copy = type(layer).from_config(config)
        outputs = copy(*args, **kwargs)
        if isinstance(layer, keras.Layer):
            copy.set_weights(layer.get_weights())
        if isinstance(layer, layers.Normalization):
            # It computes with what it derived from its weights.
            copy.finalize_state()
        return outputs

    def _free_name(self, name: str) -> str:
        """Return a name that no layer of the copy has yet."""
        free, count = name, 0
        while free in self._names:
            count += 1
            free = f"{name}_{count}"
        self._names.add(free)
        return free


def _is_graph(layer: Any) -> bool:
    """Check for a nested Sequential or functional model with one input and one output."""
    if isinstance(layer, keras.Sequential):
        return True
    if not isinstance(layer, keras.Model) or not hasattr(layer, "operations"):
        return False
    return len(layer.inputs) == len(layer.outputs) == 1


def _output_structure(model: Any) -> Any:
    """Return the tensor, list or dictionary that calling a nested model returns."""
    if isinstance(model, keras.Sequential):
        return model.outputs[0]
    return model.output


def _is_identity(layer: Any, *inputs: Any) -> bool:
    """Check whether a layer of Keras has an effect in training only.

    Raises:
        TrainingError: It crops at random, to another size than that of its input.
    """
    name = type(layer).__name__
    if not _is_keras(layer):
        return False
    if name == _CROP:
        size = (layer.height, layer.width)
        if tuple(inputs[0].shape[1:3]) != size:
            raise TrainingError(
                f"the layer {layer.name} is a {_CROP}, which has no defined effect after training. "
                f"Replace it by CenterCrop{size}, or crop before the model, and save it again."
            )
        return True
    return name in _TRAINING_ONLY or name.startswith(_RANDOM)


def _is_keras(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras"
