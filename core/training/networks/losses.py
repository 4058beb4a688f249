"""Loss and metric for targets with classes to ignore and images without a label."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["LabelledAccuracy", "PartialCrossentropy"]


# Checkpoints refer to both by their registered names.
@keras.saving.register_keras_serializable("tensight")
class PartialCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # keras is not typed
    """Cross-entropy from logits, in nats, over the classes whose target is not negative.

    Args:
        label_smoothing: Fraction of the target distribution that is spread evenly over these
            classes, 0 to 1.
    """

    def __init__(
        self, label_smoothing: float = 0.0, name: str = "partial_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, shape (n,), for targets and logits of shape (n, k)."""
        included = ops.cast(y_true >= 0, y_pred.dtype)
        targets = ops.maximum(y_true, 0)
        weight = ops.sum(targets, axis=-1, keepdims=True)
        uniform = weight * included / ops.sum(included, axis=-1, keepdims=True)
        targets = (1 - self._label_smoothing) * targets + self._label_smoothing * uniform
        logs = ops.log_softmax(ops.where(included > 0, y_pred, -1e9), axis=-1)
        return -ops.sum(targets * ops.where(included > 0, logs, 0.0), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config: dict[str, Any] = super().get_config()
        return config | {"label_smoothing": self._label_smoothing}


@keras.saving.register_keras_serializable("tensight")
class LabelledAccuracy(keras.metrics.Mean):  # type: ignore[misc]  # keras is not typed
    """Accuracy on rows with a label; rows with a uniform target (outliers) are ignored."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: object = None) -> None:
        """Add a batch of targets and logits, both of shape (n, k)."""
        del sample_weight
        labelled = ops.cast(ops.max(y_true, axis=-1) > 0.5, "float32")
        correct = ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1))
        super().update_state(ops.cast(correct, "float32"), sample_weight=labelled)
