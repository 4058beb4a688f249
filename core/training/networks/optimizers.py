"""Optimizers of the recipes, as data; and the one that Keras does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

__all__ = [
    "SGD",
    "AdamW",
    "AnchoredAdamW",
    "AnchoredAdamWOptimizer",
    "CosinePhase",
    "CosinePhases",
    "LookaheadSGD",
    "Optimizer",
    "PiecewiseLinear",
]


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


@dataclass(frozen=True)
class CosinePhase:
    """Steps over which the learning rate falls along half a cosine.

    Attributes:
        steps: How many.
        peak: The rate at its highest.
        last: The rate at the end.
        rising: First steps, over which the rate changes on a line to `peak` from the last rate of
            the phase before, from 0 in the first phase.
    """

    steps: int
    peak: float
    last: float
    rising: int = 0


@dataclass(frozen=True)
class AnchoredAdamW:
    """AdamW for fine-tuning: weights decay towards those that the run began with.

    Attributes:
        anchor: Share of its distance to the start that a weight loses at each step, times the rate.
        average: Share of the running average of the weights that each step keeps.
        clip_norm: Largest norm of all gradients together; larger ones are scaled down to it.
    """

    anchor: float
    average: float
    clip_norm: float

    def build(
        self,
        phases: Sequence[CosinePhase],
        scales: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> AnchoredAdamWOptimizer:
        """Return the optimizer for a run.

        Args:
            phases: The learning rate of the whole run.
            scales: Factors of the steps by the path of a variable, where they are not 1: of shape
                (1, 1, 1, out) for a convolution's kernel, (1, 1, channels, 1) for a depthwise one,
                (in, 1) for that of a dense layer, (1,) for a bias.
        """
        return AnchoredAdamWOptimizer(
            CosinePhases([list(astuple(phase)) for phase in phases]),
            anchor=self.anchor,
            average=self.average,
            scales=scales,
            global_clipnorm=self.clip_norm,
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
class CosinePhases(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # as above
    """A rate that falls along half a cosine in each of several phases.

    Args:
        phases: The fields of a `CosinePhase` for each; after the last the rate stays.
    """

    def __init__(self, phases: list[list[float]]) -> None:
        super().__init__()
        self._phases = phases

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, the first being 0."""
        step = ops.cast(step, "float32")
        rate = ops.zeros_like(step)
        begin, before = 0.0, 0.0
        for steps, peak, last, rising in self._phases:
            done = step - begin
            up = before + (peak - before) * done / max(rising, 1)
            way = ops.clip((done - rising) / max(steps - rising, 1), 0.0, 1.0)
            down = last + (peak - last) * (1 + ops.cos(np.pi * way)) / 2
            rate = ops.where(done < 0, rate, ops.where(done < rising, up, down))
            begin, before = begin + steps, last
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {"phases": self._phases}


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


@keras.saving.register_keras_serializable("tensight")
class AnchoredAdamWOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]  # as above
    """See `AnchoredAdamW`.

    It keeps the weights that it began with and their running average, so that a run can end with
    weights between these two. A stored model brings both, and the factors of its steps. Build it
    before `fit`, which may build it where variables have no values.
    """

    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8

    def __init__(
        self,
        learning_rate: Any,
        anchor: float,
        average: float,
        scales: Mapping[str, NDArray[np.float32]] | None = None,
        name: str = "anchored_adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self._anchor = anchor
        self._average = average
        self._scales = dict(scales or {})

    def build(self, variables: list[Any]) -> None:
        """Make two moments, a start, an average and a factor for each variable."""
        if self.built:
            return
        super().build(variables)
        names = ["first_moment", "second_moment"]
        self._first, self._second = self.add_optimizer_variables(variables, names)
        self._starts: list[Any] = []
        self._averages: list[Any] = []
        self._factors: list[Any] = []
        for variable in variables:
            value = ops.convert_to_numpy(variable)
            factor = np.ones(_factor_shape(value.shape), np.float32)
            factor = factor * self._scales.get(variable.path, np.float32(1))
            # As initial values: what is assigned while TensorFlow traces a function is lost.
            for slots, name, initial in (
                (self._starts, "start", value),
                (self._averages, "running_average", value),
                (self._factors, "factor", factor),
            ):
                slots.append(
                    self.add_variable(
                        initial.shape,
                        initializer=_Given(initial),
                        dtype="float32",
                        name=f"{variable.path.replace('/', '_')}_{name}",
                    )
                )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable by one step."""
        place = self._get_variable_index(variable)
        weight = ops.convert_to_tensor(variable)
        done = ops.cast(self.iterations + 1, weight.dtype)
        rate = ops.cast(learning_rate, weight.dtype)
        first, second = self._first[place], self._second[place]
        mean = ops.convert_to_tensor(first) * self._BETA_1 + gradient * (1 - self._BETA_1)
        square = ops.convert_to_tensor(second) * self._BETA_2
        square = square + ops.square(gradient) * (1 - self._BETA_2)
        self.assign(first, mean)
        self.assign(second, square)
        mean = mean / (1 - ops.power(self._BETA_1, done))
        square = square / (1 - ops.power(self._BETA_2, done))
        step = mean / (ops.sqrt(square) + self._EPSILON)
        step = step * ops.convert_to_tensor(self._factors[place])
        apart = weight - ops.convert_to_tensor(self._starts[place])
        moved = weight - rate * (step + self._anchor * apart)
        self.assign(variable, moved)
        # The first steps count more, or the start would stay in the average of a short run.
        kept = ops.minimum(self._average, done / (done + 10))
        average = self._averages[place]
        self.assign(average, moved + kept * (ops.convert_to_tensor(average) - moved))

    def blend(self, share: float) -> dict[str, NDArray[np.float32]]:
        """Return weights between the start and the running average.

        Args:
            share: 0 for the start, 1 for the running average.

        Returns:
            By the path of each variable.
        """
        blended = {}
        for variable, start, average in zip(
            self._trainable_variables, self._starts, self._averages, strict=True
        ):
            first, last = (ops.convert_to_numpy(each) for each in (start, average))
            blended[variable.path] = np.asarray(first + share * (last - first), np.float32)
        return blended

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes, but for the factors, which are stored as variables."""
        config: dict[str, Any] = super().get_config()
        return config | {"anchor": self._anchor, "average": self._average}


class _Given(keras.initializers.Initializer):  # type: ignore[misc]  # as above
    """Start with given values."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return them; JAX refuses two variables that share their memory."""
        del shape
        return ops.copy(ops.convert_to_tensor(self._values, dtype))


def _factor_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a variable's factors, see `AnchoredAdamW.build`."""
    match shape:
        case (_, _, channels, 1):
            return (1, 1, channels, 1)
        case (_, _, _, outputs):
            return (1, 1, 1, outputs)
        case (inputs, _):
            return (inputs, 1)
    return (1,) * len(shape)
