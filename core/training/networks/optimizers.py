"""Optimizers of the recipes, as data; and the one that Keras does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

__all__ = ["SGD", "AdamW", "LookaheadSGD", "Optimizer", "PiecewiseLinear"]


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Attributes:
        learning_rate: At its highest; it falls along half a cosine to 0 at the last step.
        weight_decay: Share of a weight that is taken off at each step, times the rate.
        warm_up: Share of all steps over which the rate first rises from 0, 0 to 1.
    """

    learning_rate: float
    weight_decay: float = 0.0
    warm_up: float = 0.0

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer for a run of this many steps."""
        rate = _half_cosine(self.learning_rate, self.warm_up, steps)
        return keras.optimizers.AdamW(rate, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum, and decoupled weight decay as in `AdamW`.

    Attributes:
        learning_rate: At its highest; it falls along half a cosine to 0 at the last step.
        momentum: 0 to 1.
        weight_decay: Share of a weight that is taken off at each step, times the rate.
    """

    learning_rate: float
    momentum: float
    weight_decay: float = 0.0

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer for a run of this many steps."""
        return keras.optimizers.SGD(
            _half_cosine(self.learning_rate, 0.0, steps),
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True)
class LookaheadSGD:
    """SGD with Nesterov momentum and lookahead, as airbench trains (Jordan 2024, 2404.00498).

    The rate rises on a line from `first` to 1 times `learning_rate` over the share `warm_up` of all
    steps, then falls on a line to `last` times it.

    Attributes:
        learning_rate: At its highest, for a loss that is a mean over the batch.
        momentum: 0 to 1.
        l2: Times the weight, added to its gradient.
        bias_factor: How many times faster the biases of batch norms learn; their `l2` is as many
            times smaller, so that they decay as fast as the rest.
        warm_up, first, last: The rate's way, shares of 1.
    """

    learning_rate: float
    momentum: float
    l2: float
    bias_factor: float
    warm_up: float
    first: float
    last: float

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer for a run of this many steps."""
        peak = self.learning_rate
        highest = max(1, round(self.warm_up * steps))
        return _LookaheadSGD(
            PiecewiseLinear(
                [0, highest, max(steps, highest + 1)],
                [self.first * peak, peak, self.last * peak],
            ),
            momentum=self.momentum,
            l2=self.l2,
            bias_factor=self.bias_factor,
            steps=steps,
        )


Optimizer = AdamW | SGD | LookaheadSGD


def _half_cosine(peak: float, warm_up: float, steps: int) -> Any:
    rising = round(warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else peak,
        steps - rising,
        warmup_target=peak if rising else None,
        warmup_steps=rising,
    )


# Keras is not typed, hence the remarks to the type checker here and below.
@keras.saving.register_keras_serializable("tensight")
class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate that goes in straight lines from one point to the next.

    Args:
        steps: Where the points are, rising; before the first and after the last the rate stays.
        rates: The rate at each point.
    """

    def __init__(self, steps: list[int], rates: list[float]) -> None:
        super().__init__()
        self._steps = steps
        self._rates = rates

    def __call__(self, step: Any) -> Any:
        """The rate at a step."""
        step = ops.cast(step, "float32")
        rate = self._rates[0]
        for i in range(1, len(self._steps)):
            start, stop = self._steps[i - 1 : i + 1]
            way = ops.clip((step - start) / (stop - start), 0.0, 1.0)
            rate += (self._rates[i] - self._rates[i - 1]) * way
        return rate

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {"steps": self._steps, "rates": self._rates}


@keras.saving.register_keras_serializable("tensight")
class _LookaheadSGD(keras.optimizers.Optimizer):  # type: ignore[misc]  # keras is not typed
    """See `LookaheadSGD`.

    Keras's SGD cannot be used: its momentum holds the rate, its weight decay is decoupled, and all
    variables share one rate.

    Lookahead (Zhang et al. 2019): every fifth step slow weights are drawn towards the fast ones,
    and the fast ones set back to them; the share of the slow ones that stays grows with the third
    power of the steps done to .95^5. After the last step only the slow ones are left, drawn
    once more if it is a fifth.
    """

    _EVERY = 5
    _KEPT = 0.95**5

    def __init__(
        self,
        learning_rate: Any,
        momentum: float,
        l2: float,
        bias_factor: float,
        steps: int,
        name: str = "lookahead_sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self._momentum = momentum
        self._l2 = l2
        self._bias_factor = bias_factor
        self._steps = steps

    def build(self, variables: list[Any]) -> None:
        """Make a velocity and a slow weight for each variable."""
        if self.built:
            return
        super().build(variables)
        self._velocities, self._slow = self.add_optimizer_variables(variables, ["velocity", "slow"])
        for slow, variable in zip(self._slow, variables, strict=True):
            # JAX refuses two variables that share their memory.
            slow.assign(ops.copy(ops.convert_to_tensor(variable)))
        # Here, since `update_step` gets the backend's own variables. Keras calls the bias of a
        # batch norm beta, and nothing else.
        self._factors = [self._bias_factor if v.name == "beta" else 1.0 for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        place = self._get_variable_index(variable)
        velocity, slow = self._velocities[place], self._slow[place]
        factor = self._factors[place]
        # JAX takes no variables of Keras's in its operations.
        weight, slow_weight = ops.convert_to_tensor(variable), ops.convert_to_tensor(slow)
        gradient = gradient + (self._l2 / factor) * weight
        moving = self._momentum * ops.convert_to_tensor(velocity) + gradient
        self.assign(velocity, moving)
        step = learning_rate * factor * (gradient + self._momentum * moving)
        fast = weight - ops.cast(step, weight.dtype)

        done = ops.cast(self.iterations + 1, "float32")
        turn = ops.equal(done % self._EVERY, 0)
        kept = ops.where(turn, self._KEPT * (done / self._steps) ** 3, 1.0)
        due = ops.logical_or(turn, done >= self._steps)
        mixed = fast + kept * (slow_weight - fast)
        self.assign(variable, ops.where(due, mixed, fast))
        self.assign(slow, ops.where(due, mixed, slow_weight))

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "momentum": self._momentum,
            "l2": self._l2,
            "bias_factor": self._bias_factor,
            "steps": self._steps,
        }
