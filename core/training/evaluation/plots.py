"""Plots of a model card: training curves, confusion matrix and reliability diagram."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from core.bundle.config import Config
from core.bundle.metrics import Metrics

__all__ = ["draw_confusion", "draw_curves", "draw_reliability"]

_MAX_CLASSES_WITH_COUNTS = 30


def draw_curves(metrics: Metrics) -> bytes:
    """Plot loss and accuracy by epoch, for training and validation, as PNG."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [c.epoch for c in metrics.curves]
    loss.plot(epochs, [c.loss for c in metrics.curves], label="train")
    loss.plot(epochs, [c.validation_loss for c in metrics.curves], label="validation")
    loss.set(xlabel="epoch", ylabel="loss (nats)")
    accuracy.plot(epochs, [c.accuracy for c in metrics.curves], label="train")
    accuracy.plot(epochs, [c.validation_accuracy for c in metrics.curves], label="validation")
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    # Fixed positions: the search for the best one can take seconds, and matplotlib warns about it.
    for axes, position in ((loss, "upper right"), (accuracy, "lower right")):
        axes.axvline(metrics.best_epoch or 0, color="grey", linewidth=0.8, linestyle=":")
        axes.legend(loc=position)
        axes.grid(alpha=0.3)
    return _png(figure)


def draw_confusion(config: Config, metrics: Metrics) -> bytes:
    """Plot the confusion matrix of the test split, with counts for up to 30 classes, as PNG."""
    counts = np.asarray(metrics.test.confusion, np.float64)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k = len(config.labels)
    side = min(2.5 + 0.45 * k, 20)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_xticks(range(k), config.labels, rotation=90)
    axes.set_yticks(range(k), config.labels)
    if k <= _MAX_CLASSES_WITH_COUNTS:
        for i in range(k):
            for j in range(k):
                shade = "white" if fractions[i, j] > 0.5 else "black"
                axes.text(
                    j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color=shade, size=8
                )
    return _png(figure)


def draw_reliability(metrics: Metrics) -> bytes:
    """Plot the reliability diagram of the test split as PNG."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    bins = [b for b in metrics.test.reliability if b.accuracy is not None]
    axes.bar(
        [b.low for b in bins],
        [b.accuracy or 0.0 for b in bins],
        width=[b.high - b.low for b in bins],
        align="edge",
        edgecolor="white",
    )
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(f"ECE {metrics.test.ece:.4f}, {metrics.test.n:,} rows")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    # Without the version of matplotlib, the same metrics give the same bytes.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
