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

__all__ = ["check_has_mistakes", "draw_contact_sheets"]

_COLUMNS = 5
_MAX_CONFUSIONS = 6

_Captioned = tuple[NDArray[np.uint8], str]
"""An image of shape (h, w, 3), uint8, RGB, and its caption."""


def draw_contact_sheets(
    classifier: Classifier, metrics: SplitMetrics, split: Split, folder: Path
) -> list[Path]:
    """Draw the most confident mistakes, and examples of the most frequent confusions.

    A confusion is drawn if it has at least five examples.

    Args:
        classifier: The model.
        metrics: Its metrics on the split.
        split: The rows that the metrics were measured on.
        folder: Output folder; created if needed.

    Returns:
        Paths of the PNG files.

    Raises:
        DataError: The metrics list no mistakes, see `check_has_mistakes`.
        OutputError: The folder cannot be created or written to.
    """
    check_has_mistakes(classifier.name, metrics)
    name, title = classifier.name, classifier.config.title
    mistakes = folder / f"{name}-mistakes.png"
    confusions = folder / f"{name}-confusions.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        captioned = _captioned_mistakes(metrics, split)
        _draw_sheet(mistakes, f"{title}: most confident mistakes", captioned)
        captioned = _captioned_confusions(classifier, metrics, split)
        _draw_sheet(confusions, f"{title}: most frequent confusions", captioned)
    except OSError as error:
        raise OutputError(
            f"Cannot write pictures to {folder}: {error.strerror or error}. Choose another folder."
        ) from error
    return [mistakes, confusions]


def check_has_mistakes(name: str, metrics: SplitMetrics) -> None:
    """Check that there are mistakes to draw.

    This needs no rows, so it can run before the data set is read.

    Args:
        name: Name of the model.
        metrics: Its metrics.

    Raises:
        DataError: The metrics list no mistakes; those of older versions never do.
    """
    if not metrics.mistakes:
        raise DataError(
            f"The metrics of {name} list no mistakes to draw. Run `tensight evaluate {name}` to "
            "measure it again."
        )


def _captioned_mistakes(metrics: SplitMetrics, split: Split) -> list[_Captioned]:
    """Caption the mistakes that the metrics list."""
    position = {int(row): i for i, row in enumerate(split.rows)}
    return [
        (
            split.images[position[mistake.row]],
            _caption(mistake.row, mistake.label, mistake.answer, mistake.confidence),
        )
        for mistake in metrics.mistakes
    ]


def _captioned_confusions(
    classifier: Classifier, metrics: SplitMetrics, split: Split
) -> list[_Captioned]:
    """Caption the most confident examples of each frequent confusion, one row of images each."""
    logits = run_inference(classifier, split.images, "").outputs.logits
    confidence = confidences(logits, classifier.config)
    predicted = logits.argmax(axis=1)
    labels = classifier.labels
    captioned = []
    for truth, answer in _most_frequent_confusions(np.asarray(metrics.confusion)):
        found = np.flatnonzero((split.labels == truth) & (predicted == answer))
        for i in found[np.argsort(-confidence[found], kind="stable")][:_COLUMNS]:
            caption = _caption(split.rows[i], labels[truth], labels[answer], confidence[i])
            captioned.append((split.images[i], caption))
    return captioned


def _caption(row: int, label: str, answer: str, confidence: float) -> str:
    return f"row {row}: {label}\n{answer} {confidence:.3f}"


def _most_frequent_confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs of true and predicted class, most frequent first, that fill a row of images."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    pairs = [divmod(int(i), confusion.shape[1]) for i in order]
    return [(truth, answer) for truth, answer in pairs if wrong[truth, answer] >= _COLUMNS]


def _draw_sheet(file: Path, title: str, captioned: Sequence[_Captioned]) -> None:
    """Draw images with captions on a grid."""
    rows = max(1, -(-len(captioned) // _COLUMNS))
    figure = Figure(figsize=(1.9 * _COLUMNS, 2.3 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes in np.ravel(figure.subplots(rows, _COLUMNS)):
        axes.axis("off")
    for axes, (image, caption) in zip(figure.axes, captioned, strict=False):
        axes.imshow(image)
        axes.set_title(caption, fontsize=9)
    figure.savefig(file, dpi=100)
