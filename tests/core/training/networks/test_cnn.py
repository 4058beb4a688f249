"""Network architectures."""

from __future__ import annotations

import numpy as np

from core.training.networks import cnn


def test_classic_has_the_parameters_of_the_report() -> None:
    assert cnn.classic((32, 32, 3), 10).count_params() == 161_098


def test_networks_accept_any_shape_and_number_of_classes() -> None:
    for build in (cnn.baseline, cnn.classic, cnn.scratch):
        assert build((48, 40, 3), 7).output.shape == (None, 7)
    assert cnn.mobilenet((None, None, 3), 7).output.shape == (None, 7)


def test_whitened_patches_are_uncorrelated() -> None:
    rng = np.random.default_rng(0)
    # Neighbours that resemble each other, as in photos.
    noise = rng.normal(size=(200, 34, 34, 3)).astype(np.float32)
    images = (
        noise[:, :-2, :-2] + noise[:, 1:-1, 1:-1] + noise[:, 2:, 2:] + noise[..., :1][:, 1:-1, 1:-1]
    )
    model = cnn.scratch((32, 32, 3), 10)
    cnn.whiten(model, images)
    outputs = np.asarray(model.get_layer("whitening")(images)).reshape(-1, 24)
    half = outputs[:, :12]
    assert np.allclose(half, -outputs[:, 12:], atol=1e-4)
    assert np.allclose(half.T @ half / len(half), np.eye(12), atol=0.02)
    assert not model.get_layer("whitening").trainable


def test_first_filters_of_scratch_are_the_identity() -> None:
    model = cnn.scratch((32, 32, 3), 10)
    kernels = [layer.kernel for layer in model.layers if layer.name.startswith("conv2d")]
    assert len(kernels) == 9
    for kernel in map(np.asarray, kernels):
        inputs = kernel.shape[2]
        assert np.array_equal(kernel[1, 1, :, :inputs], np.eye(inputs))
        assert np.count_nonzero(kernel[..., :inputs]) == inputs
