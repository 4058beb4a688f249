"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from core.training.networks.optimizers import (
    AdamW,
    AnchoredAdamW,
    CosinePhase,
    CosinePhases,
    LookaheadSGD,
    PiecewiseLinear,
)


def test_piecewise_linear_rate_interpolates_points() -> None:
    rate = PiecewiseLinear([0, 10, 20], [0.2, 1.0, 0.0])
    given = [float(rate(step)) for step in (0, 5, 10, 15, 20, 30)]
    assert given == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0, 0.0])
    again = PiecewiseLinear(**rate.get_config())
    assert float(again(5)) == pytest.approx(0.6)


def test_adamw_warms_up_and_decays_to_zero() -> None:
    optimizer = AdamW(0.5, warm_up=0.1).build(100)
    rates = []
    variable = keras.Variable([0.0])
    for _ in range(101):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([keras.ops.zeros(1)], [variable])
    assert rates[0] == 0
    assert rates[10] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-6)
    assert float(AdamW(0.5).build(100).learning_rate) == 0.5


@pytest.mark.parametrize("steps", [12, 10])
def test_lookahead_sgd_follows_its_formulas(steps: int) -> None:
    momentum, l2, factor = 0.8, 0.01, 4.0
    recipe = LookaheadSGD(
        0.1, momentum, l2, factor, warm_up=0.25, initial_factor=0.5, final_factor=0.1
    )
    optimizer = recipe.build(steps)
    kernel = keras.Variable([1.0, -2.0], name="kernel")
    beta = keras.Variable([0.5], name="beta")
    rng = np.random.default_rng(0)
    ours = {"kernel": np.asarray([1.0, -2.0]), "beta": np.asarray([0.5])}
    slow = {name: value.copy() for name, value in ours.items()}
    velocity = {name: np.zeros_like(value) for name, value in ours.items()}
    for step in range(1, steps + 1):
        rate = 0.1 * np.interp(step - 1, [0, round(0.25 * steps), steps], [0.5, 1.0, 0.1])
        gradients = {"kernel": rng.normal(size=2), "beta": rng.normal(size=1)}
        optimizer.apply([g.astype(np.float32) for g in gradients.values()], [kernel, beta])
        for name, times in (("kernel", 1.0), ("beta", factor)):
            gradient = gradients[name] + l2 / times * ours[name]
            velocity[name] = momentum * velocity[name] + gradient
            ours[name] = ours[name] - rate * times * (gradient + momentum * velocity[name])
            kept = 0.95**5 * (step / steps) ** 3 if step % 5 == 0 else 1.0
            if step % 5 == 0 or step == steps:
                ours[name] = slow[name] = kept * slow[name] + (1 - kept) * ours[name]
        assert np.allclose(kernel.numpy(), ours["kernel"], atol=1e-5), step
        assert np.allclose(beta.numpy(), ours["beta"], atol=1e-5), step


def test_lookahead_sgd_accepts_a_run_of_one_step() -> None:
    optimizer = LookaheadSGD(
        0.1, 0.8, 0.0, 1.0, warm_up=0.25, initial_factor=0.5, final_factor=0.1
    ).build(1)
    assert float(optimizer.learning_rate) == pytest.approx(0.05)


def test_cosine_phases_decay_separately() -> None:
    rate = CosinePhases([[8, 0.4, 0.1, 2], [4, 0.2, 0.05, 0], [4, 0.15, 0.01, 2]])
    at = {0: 0.0, 1: 0.2, 2: 0.4, 5: 0.25, 8: 0.2, 10: 0.125, 12: 0.05, 13: 0.1, 14: 0.15, 15: 0.08}
    for step, expected in at.items():
        assert float(rate(step)) == pytest.approx(expected), step
    for step in (16, 100):
        assert float(rate(step)) == pytest.approx(0.01)
    again = CosinePhases.from_config(rate.get_config())
    assert float(again(5)) == pytest.approx(0.25)


def test_anchored_adamw_follows_its_formulas() -> None:
    recipe = AnchoredAdamW(anchor=0.5, ema_decay=0.9, clip_norm=1e9)
    kernel = keras.Variable(np.ones((1, 1, 2, 3), np.float32), name="kernel")
    bias = keras.Variable(np.zeros(3, np.float32), name="bias")
    factor = np.asarray([1.0, 0.5, 2.0], np.float32).reshape(1, 1, 1, 3)
    optimizer = recipe.build([CosinePhase(8, 0.1, 0.01, 2)], {kernel.path: factor})
    ours = {"kernel": np.ones((1, 1, 2, 3)), "bias": np.zeros(3)}
    start = {name: value.copy() for name, value in ours.items()}
    average = {name: value.copy() for name, value in ours.items()}
    first = {name: np.zeros_like(value) for name, value in ours.items()}
    second = {name: np.zeros_like(value) for name, value in ours.items()}
    rng = np.random.default_rng(0)
    for step in range(1, 9):
        rate = float(optimizer.learning_rate)
        gradients = {name: rng.normal(size=value.shape) for name, value in ours.items()}
        optimizer.apply([g.astype(np.float32) for g in gradients.values()], [kernel, bias])
        for name, gradient in gradients.items():
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            move = first[name] / (1 - 0.9**step) / np.sqrt(second[name] / (1 - 0.999**step))
            move = move * (factor if name == "kernel" else 1)
            ours[name] = ours[name] - rate * (move + 0.5 * (ours[name] - start[name]))
            kept = min(0.9, step / (step + 10))
            average[name] = kept * average[name] + (1 - kept) * ours[name]
        np.testing.assert_allclose(kernel.numpy(), ours["kernel"], atol=1e-4)
        np.testing.assert_allclose(bias.numpy(), ours["bias"], atol=1e-4)
    assert float(optimizer.learning_rate) == pytest.approx(0.01, rel=1e-3)
    for share in (0.0, 0.3, 1.0):
        expected = start["kernel"] + share * (average["kernel"] - start["kernel"])
        np.testing.assert_allclose(optimizer.interpolate(share)[kernel.path], expected, atol=1e-4)


def test_saved_anchored_adamw_keeps_start_average_and_factors(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs))
    factors = {"logits/kernel": np.full((4, 1), 0.25, np.float32)}
    recipe = AnchoredAdamW(anchor=0.0, ema_decay=0.5, clip_norm=1.0)
    phases = [CosinePhase(2, 0.1, 0.05), CosinePhase(8, 0.02, 0.01, 1)]
    optimizer = recipe.build(phases, factors)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse")
    before = model.get_weights()[0].copy()
    x, y = np.ones((8, 4), np.float32), np.ones((8, 2), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.optimizer.interpolate(0.0)["logits/kernel"], before)
    stored = {variable.path.split("/")[-1]: variable for variable in again.optimizer.variables}
    np.testing.assert_allclose(stored["logits_kernel_factor"], factors["logits/kernel"])
    for share in (0.5, 1.0):
        kept = model.optimizer.interpolate(share)["logits/kernel"]
        np.testing.assert_allclose(again.optimizer.interpolate(share)["logits/kernel"], kept)
    model.fit(x, y, epochs=1, verbose=0)
    again.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(again.get_weights()[0], model.get_weights()[0], atol=1e-6)
