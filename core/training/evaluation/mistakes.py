"""Pictures of what a model gets wrong; they hold images of the data set, so belong in no repo."""

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
from core.training.evaluation.ood import run_inference

__all__ = ["draw", "refuse_without_mistakes"]

_COLUMNS = 5
_CONFUSIONS = 6


def draw(classifier: Classifier, figures: SplitMetrics, split: Split, folder: Path) -> list[Path]:
    """Draw the most confident mistakes, and the most frequent confusions with examples of each.

    A confusion is drawn where there are at least five examples.

    Args:
        classifier: The model.
        figures: What it gave on these rows.
        split: The rows.
        folder: Where the pictures go; made if needed.

    Returns:
        Their paths.

    Raises:
        DataError: As in `refuse_without_mistakes`.
        OutputError: The folder cannot be made or written to.
    """
    refuse_without_mistakes(classifier.name, figures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _drawn(classifier, figures, split, folder)
    except OSError as error:
        raise OutputError(
            f"No picture can be written to {folder}: {error.strerror or error}. Name another "
            "folder."
        ) from error


def refuse_without_mistakes(name: str, figures: SplitMetrics) -> None:
    """See that there is something to draw, before rows are read for it.

    Raises:
        DataError: The figures of the model of that name name no mistakes: an older version made
            them.
    """
    if not figures.mistakes:
        raise DataError(
            f"The figures of {name} name no mistakes to draw. `tensight evaluate {name}` measures "
            "it anew."
        )


def _drawn(classifier: Classifier, figures: SplitMetrics, split: Split, folder: Path) -> list[Path]:
    files = [folder / f"{classifier.name}-{what}.png" for what in ("mistakes", "confusions")]
    place = {int(row): i for i, row in enumerate(split.rows)}
    _sheet(
        files[0],
        f"{classifier.config.title}: its most confident mistakes",
        [
            (
                split.images[place[mistake.row]],
                f"row {mistake.row}: {mistake.label}\n{mistake.answer} {mistake.confidence:.3f}",
            )
            for mistake in figures.mistakes
        ],
    )
    logits = run_inference(classifier, split.images, "").outputs.logits
    sure = confidences(logits, classifier.config)
    answers = logits.argmax(axis=1)
    shown = []
    labels = classifier.labels
    for truth, answer in _most_confused(np.asarray(figures.confusion)):
        found = np.flatnonzero((split.labels == truth) & (answers == answer))
        for i in found[np.argsort(-sure[found], kind="stable")][:_COLUMNS]:
            text = f"row {split.rows[i]}: {labels[truth]}\n{labels[answer]} {sure[i]:.3f}"
            shown.append((split.images[i], text))
    _sheet(files[1], f"{classifier.config.title}: what it takes for what, most often", shown)
    return files


def _most_confused(confusion: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of truth and answer with at least one example a column, most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(i), confusion.shape[1]) for i in order]
    return [(truth, answer) for truth, answer in pairs if wrong[truth, answer] >= _COLUMNS]


def _sheet(file: Path, title: str, shown: Sequence[tuple[NDArray[np.uint8], str]]) -> None:
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure = Figure(figsize=(1.9 * _COLUMNS, 2.3 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes in np.ravel(figure.subplots(rows, _COLUMNS)):
        axes.axis("off")
    for axes, (image, text) in zip(figure.axes, shown, strict=False):
        axes.imshow(image)
        axes.set_title(text, fontsize=9)
    figure.savefig(file, dpi=100)
