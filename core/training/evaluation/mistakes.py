"""Contact sheets of misclassified images.

They contain images of the data set, so they must not be added to a repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core.bundle.metrics import SplitMetrics
from core.errors import DataError, OutputError
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import run_inference

__all__ = ["check_has_mistakes", "draw"]

_COLUMNS = 5
_CONFUSIONS = 6


def draw(classifier: Classifier, metrics: SplitMetrics, split: Split, folder: Path) -> list[Path]:
    """Draw the most confident mistakes, and examples of the most frequent confusions.

    A confusion is drawn if it has at least five examples.

    Args:
        classifier: The model.
        metrics: Its metrics on the split.
        split: Rows.
        folder: Output folder; created if needed.

    Returns:
        Paths of the PNG files.

    Raises:
        DataError: The metrics list no mistakes, see `check_has_mistakes`.
        OutputError: The folder cannot be created or written to.
    """
    check_has_mistakes(classifier.name, metrics)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _draw_sheets(classifier, metrics, split, folder)
    except OSError as error:
        raise OutputError(
            f"Cannot write pictures to {folder}: {error.strerror or error}. Choose another folder."
        ) from error


def check_has_mistakes(name: str, metrics: SplitMetrics) -> None:
    """Check that there are mistakes to draw, before rows are read.

    Args:
        name: Name of the model.
        metrics: Its metrics.

    Raises:
        DataError: The metrics list no mistakes, as those of older versions.
    """
    if not metrics.mistakes:
        raise DataError(
            f"The metrics of {name} list no mistakes to draw. Run `tensight evaluate {name}` to "
            "measure it again."
        )


def _draw_sheets(
    classifier: Classifier, metrics: SplitMetrics, split: Split, folder: Path
) -> list[Path]:
    files = [folder / f"{classifier.name}-{what}.png" for what in ("mistakes", "confusions")]
    position = {int(row): i for i, row in enumerate(split.rows)}
    _draw_sheet(
        files[0],
        f"{classifier.config.title}: most confident mistakes",
        [
            (
                split.images[position[mistake.row]],
                f"row {mistake.row}: {mistake.label}\n{mistake.answer} {mistake.confidence:.3f}",
            )
            for mistake in metrics.mistakes
        ],
    )
    logits = run_inference(classifier, split.images, "").outputs.logits
    confidence = confidences(logits, classifier.config)
    predicted = logits.argmax(axis=1)
    shown = []
    labels = classifier.labels
    for truth, answer in _most_frequent_confusions(np.asarray(metrics.confusion)):
        found = np.flatnonzero((split.labels == truth) & (predicted == answer))
        for i in found[np.argsort(-confidence[found], kind="stable")][:_COLUMNS]:
            text = f"row {split.rows[i]}: {labels[truth]}\n{labels[answer]} {confidence[i]:.3f}"
            shown.append((split.images[i], text))
    _draw_sheet(files[1], f"{classifier.config.title}: most frequent confusions", shown)
    return files


def _most_frequent_confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs of true and predicted class with enough examples for a row, by frequency."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(i), confusion.shape[1]) for i in order]
    return [(truth, answer) for truth, answer in pairs if wrong[truth, answer] >= _COLUMNS]


def _draw_sheet(file: Path, title: str, shown: Sequence[tuple[NDArray[np.uint8], str]]) -> None:
    """Draw images with captions on a grid."""
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure = Figure(figsize=(1.9 * _COLUMNS, 2.3 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes in np.ravel(figure.subplots(rows, _COLUMNS)):
        axes.axis("off")
    for axes, (image, text) in zip(figure.axes, shown, strict=False):
        axes.imshow(image)
        axes.set_title(text, fontsize=9)
    figure.savefig(file, dpi=100)
