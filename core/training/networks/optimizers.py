"""Optimiser settings of the recipes, and the optimisers that Keras does not have."""

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
        learning_rate: Peak learning rate; cosine decay to 0 at the last step.
        weight_decay: Coefficient of weight decay, which each step multiplies by the learning rate.
        warm_up: Fraction of all steps, 0 to 1, with linear warm-up from 0.
    """

    learning_rate: float
    weight_decay: float = 0.0
    warm_up: float = 0.0

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """Return the optimiser for a run of this many steps."""
        rate = _cosine_decay(self.learning_rate, self.warm_up, steps)
        return keras.optimizers.AdamW(rate, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum, and decoupled weight decay as in `AdamW`.

    Attributes:
        learning_rate: Peak learning rate; cosine decay to 0 at the last step.
        momentum: Momentum, 0 to 1.
        weight_decay: Coefficient of weight decay, which each step multiplies by the learning rate.
    """

    learning_rate: float
    momentum: float
    weight_decay: float = 0.0

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """Return the optimiser for a run of this many steps."""
        return keras.optimizers.SGD(
            _cosine_decay(self.learning_rate, 0.0, steps),
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True)
class LookaheadSGD:
    """SGD with Nesterov momentum and lookahead, as in airbench (Jordan 2024, arXiv 2404.00498).

    The learning rate changes linearly, from `initial_factor` times the peak up to the peak, and
    then to `final_factor` times the peak at the last step.

    Attributes:
        learning_rate: Peak learning rate, for a loss that is averaged over the batch.
        momentum: Momentum, 0 to 1.
        l2: Coefficient of L2 regularisation: times the weight, added to its gradient.
        bias_factor: Factor of the learning rate of the biases of batch normalisation; their `l2` is
            divided by it, so that they decay as fast as other weights.
        warm_up: Fraction of all steps before the peak, 0 to 1.
        initial_factor, final_factor: Learning rate of the first and the last step, relative to the
            peak.
    """

    learning_rate: float
    momentum: float
    l2: float
    bias_factor: float
    warm_up: float
    initial_factor: float
    final_factor: float

    def build(self, steps: int) -> keras.optimizers.Optimizer:
        """Return the optimiser for a run of this many steps."""
        peak = self.learning_rate
        highest = max(1, round(self.warm_up * steps))
        return _LookaheadSGD(
            PiecewiseLinear(
                [0, highest, max(steps, highest + 1)],
                [self.initial_factor * peak, peak, self.final_factor * peak],
            ),
            momentum=self.momentum,
            l2=self.l2,
            bias_factor=self.bias_factor,
            steps=steps,
        )


@dataclass(frozen=True)
class CosinePhase:
    """One cycle of cosine decay of the learning rate.

    Attributes:
        steps: Number of steps.
        peak_rate: Peak learning rate.
        final_rate: Learning rate at the end.
        warm_up: Number of steps, at the start, over which the rate changes linearly to `peak_rate`
            from the final rate of the phase before; from 0 in the first phase.
    """

    steps: int
    peak_rate: float
    final_rate: float
    warm_up: int = 0


@dataclass(frozen=True)
class AnchoredAdamW:
    """AdamW for fine-tuning, with decay towards the initial weights and a moving average.

    Decay towards the pretrained weights is L2-SP (Li et al. 2018, arXiv 1802.01483).

    Attributes:
        anchor: Coefficient of the decay towards the initial weights, which each step multiplies by
            the learning rate.
        ema_decay: Decay of the exponential moving average (EMA) of the weights, 0 to 1.
        clip_norm: Maximum global norm of the gradients.
    """

    anchor: float
    ema_decay: float
    clip_norm: float

    def build(
        self,
        phases: Sequence[CosinePhase],
        scales: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> AnchoredAdamWOptimizer:
        """Return the optimiser for a run.

        Args:
            phases: Learning-rate schedule of the whole run.
            scales: Factors of the steps by path of the variable, where they are not 1: of shape
                (1, 1, 1, out) for the kernel of a convolution, (1, 1, channels, 1) for that of a
                depthwise one, (in, 1) for that of a dense layer, (1,) for a bias.
        """
        return AnchoredAdamWOptimizer(
            CosinePhases([list(astuple(phase)) for phase in phases]),
            anchor=self.anchor,
            average=self.ema_decay,
            scales=scales,
            global_clipnorm=self.clip_norm,
        )


Optimizer = AdamW | SGD | LookaheadSGD


def _cosine_decay(peak: float, warm_up: float, steps: int) -> Any:
    rising = round(warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else peak,
        steps - rising,
        warmup_target=peak if rising else None,
        warmup_steps=rising,
    )


# Checkpoints store the registered names and the arguments of the constructors below.
# Keras is not typed, hence the type-checker comments.
@keras.saving.register_keras_serializable("tensight")
class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Piecewise linear learning rate, constant before the first and after the last point.

    Args:
        steps: Step of each point, rising.
        rates: Learning rate at each point.
    """

    def __init__(self, steps: list[int], rates: list[float]) -> None:
        super().__init__()
        self._steps = steps
        self._rates = rates

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at a step, counted from 0."""
        step = ops.cast(step, "float32")
        rate = self._rates[0]
        for i in range(1, len(self._steps)):
            start, stop = self._steps[i - 1 : i + 1]
            progress = ops.clip((step - start) / (stop - start), 0.0, 1.0)
            rate += (self._rates[i] - self._rates[i - 1]) * progress
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"steps": self._steps, "rates": self._rates}


@keras.saving.register_keras_serializable("tensight")
class CosinePhases(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # as above
    """Learning rate with cosine decay in each of several phases, constant after the last.

    Args:
        phases: Fields of the `CosinePhase` of each phase, in their order.
    """

    def __init__(self, phases: list[list[float]]) -> None:
        super().__init__()
        self._phases = phases

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at a step, counted from 0."""
        step = ops.cast(step, "float32")
        rate = ops.zeros_like(step)
        start, previous = 0.0, 0.0
        for steps, peak, final, warm_up in self._phases:
            done = step - start
            rising = previous + (peak - previous) * done / max(warm_up, 1)
            progress = ops.clip((done - warm_up) / max(steps - warm_up, 1), 0.0, 1.0)
            decaying = final + (peak - final) * (1 + ops.cos(np.pi * progress)) / 2
            rate = ops.where(done < 0, rate, ops.where(done < warm_up, rising, decaying))
            start, previous = start + steps, final
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"phases": self._phases}


@keras.saving.register_keras_serializable("tensight")
class _LookaheadSGD(keras.optimizers.Optimizer):  # type: ignore[misc]  # keras is not typed
    """Optimiser of `LookaheadSGD`.

    The SGD of Keras differs: its velocity includes the learning rate, its weight decay is
    decoupled, and all variables share one learning rate.

    Lookahead (Zhang et al. 2019, arXiv 1907.08610): every fifth step the slow weights move towards
    the fast ones, which are reset to them. The fraction of the slow weights that is kept grows with
    the cube of the progress up to 0.95^5. After the last step the weights are the slow ones.
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
        """Create a velocity and a slow weight for each variable."""
        if self.built:
            return
        super().build(variables)
        self._velocities, self._slow = self.add_optimizer_variables(variables, ["velocity", "slow"])
        for slow, variable in zip(self._slow, variables, strict=True):
            # JAX rejects two variables that share memory.
            slow.assign(ops.copy(ops.convert_to_tensor(variable)))
        # Here, since `update_step` gets the backend's own variables, without names. Keras names
        # only the bias of batch normalisation beta.
        self._factors = [self._bias_factor if v.name == "beta" else 1.0 for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        velocity, slow = self._velocities[index], self._slow[index]
        factor = self._factors[index]
        # The operations of JAX do not accept variables of Keras.
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
        """Return the arguments of the constructor."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "momentum": self._momentum,
            "l2": self._l2,
            "bias_factor": self._bias_factor,
            "steps": self._steps,
        }


@keras.saving.register_keras_serializable("tensight")
class AnchoredAdamWOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]  # as above
    """Optimiser of `AnchoredAdamW`.

    It stores the initial weights and their moving average, so that the final weights can be
    interpolated between them; a saved model contains both, and the step factors. It must be built
    before `fit`, which may build it inside a traced function, where variables have no values.

    Args:
        learning_rate: Learning rate, or its schedule.
        anchor: As for `AnchoredAdamW`.
        average: Decay of the moving average of the weights, 0 to 1.
        scales: As for `AnchoredAdamW.build`.
        name: Name of the optimiser.
        **kwargs: Further arguments of `keras.optimizers.Optimizer`.
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
        """Create two moments, start, moving average and step factor for each variable."""
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
            # As initial values: assignments while TensorFlow traces a function are lost.
            for slots, name, initial in (
                (self._starts, "start", value),
                (self._averages, "running_average", value),
                (self._factors, "factor", factor),
            ):
                slots.append(
                    self.add_variable(
                        initial.shape,
                        initializer=_Constant(initial),
                        dtype="float32",
                        name=f"{variable.path.replace('/', '_')}_{name}",
                    )
                )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        weight = ops.convert_to_tensor(variable)
        done = ops.cast(self.iterations + 1, weight.dtype)
        rate = ops.cast(learning_rate, weight.dtype)
        first, second = self._first[index], self._second[index]
        mean = ops.convert_to_tensor(first) * self._BETA_1 + gradient * (1 - self._BETA_1)
        square = ops.convert_to_tensor(second) * self._BETA_2
        square = square + ops.square(gradient) * (1 - self._BETA_2)
        self.assign(first, mean)
        self.assign(second, square)
        mean = mean / (1 - ops.power(self._BETA_1, done))
        square = square / (1 - ops.power(self._BETA_2, done))
        step = mean / (ops.sqrt(square) + self._EPSILON)
        step = step * ops.convert_to_tensor(self._factors[index])
        distance = weight - ops.convert_to_tensor(self._starts[index])
        moved = weight - rate * (step + self._anchor * distance)
        self.assign(variable, moved)
        # A smaller decay in the first steps, so that the start does not dominate short runs.
        kept = ops.minimum(self._average, done / (done + 10))
        average = self._averages[index]
        self.assign(average, moved + kept * (ops.convert_to_tensor(average) - moved))

    def interpolate(self, coefficient: float) -> dict[str, NDArray[np.float32]]:
        """Return weights on the line from the start to the moving average.

        Args:
            coefficient: 0 for the start, 1 for the moving average.

        Returns:
            Weights by path of the variable.
        """
        weights = {}
        for variable, start, average in zip(
            self._trainable_variables, self._starts, self._averages, strict=True
        ):
            first, last = (ops.convert_to_numpy(each) for each in (start, average))
            weights[variable.path] = np.asarray(first + coefficient * (last - first), np.float32)
        return weights

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor without the factors, which are variables."""
        config: dict[str, Any] = super().get_config()
        return config | {"anchor": self._anchor, "average": self._average}


class _Constant(keras.initializers.Initializer):  # type: ignore[misc]  # as above
    """Initialiser with given values."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return a copy, since JAX rejects two variables that share memory."""
        del shape
        return ops.copy(ops.convert_to_tensor(self._values, dtype))


def _factor_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the step factors of a variable, see `AnchoredAdamW.build`."""
    match shape:
        case (_, _, channels, 1):
            return (1, 1, channels, 1)
        case (_, _, _, outputs):
            return (1, 1, 1, outputs)
        case (inputs, _):
            return (inputs, 1)
    return (1,) * len(shape)
