"""Run the training loop on data made by tests."""

from __future__ import annotations

from pathlib import Path

from core.settings import Settings
from core.training.classification_task import ClassificationTask
from core.training.data.batches import TrainingData
from core.training.data.datasets import hold_out
from core.training.fit import FitResult, fit
from core.training.recipe import Recipe
from tests.support import made

__all__ = ["DATA", "LEARN", "VALIDATION", "run"]

LEARN, VALIDATION = hold_out(made.dataset().train)


DATA = TrainingData(LEARN)


def run(
    recipe: Recipe,
    folder: Path,
    reporter: made.Recorder,
    *,
    resume: bool = False,
    data: TrainingData = DATA,
) -> FitResult:
    """Fit a recipe on the training rows.

    Args:
        recipe: The recipe.
        folder: Folder of the run.
        reporter: Receives the progress.
        resume: Continue the run in the folder.
        data: Training data.
    """
    return fit(
        ClassificationTask(
            recipe=recipe,
            classes=3,
            seed=5,
            settings=Settings(),
            data=data,
            validation=VALIDATION,
        ),
        folder=folder,
        resume=resume,
        reporter=reporter,
    )
