from __future__ import annotations

import keras
import numpy as np
import pytest

from core.training.networks.optimizers import AdamW, LookaheadSGD, PiecewiseLinear


def test_a_rate_in_straight_lines() -> None:
    rate = PiecewiseLinear([0, 10, 20], [0.2, 1.0, 0.0])
    given = [float(rate(step)) for step in (0, 5, 10, 15, 20, 30)]
    assert given == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0, 0.0])
    again = PiecewiseLinear(**rate.get_config())
    assert float(again(5)) == pytest.approx(0.6)


def test_adamw_warms_up_and_falls_to_nothing() -> None:
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
    recipe = LookaheadSGD(0.1, momentum, l2, factor, warm_up=0.25, first=0.5, last=0.1)
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


def test_a_run_of_one_step_has_a_rate() -> None:
    optimizer = LookaheadSGD(0.1, 0.8, 0.0, 1.0, warm_up=0.25, first=0.5, last=0.1).build(1)
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
