"""Results of the ablation study, as they are stored in models/ablation.json."""

from __future__ import annotations

from pathlib import Path

from core.bundle.config import Record, Share, TrainingRun, read_record, write_record

__all__ = ["Ablation", "Option", "keep_ablation", "read_ablation"]

_ABLATION = "ablation.json"


class Option(Record):
    """One change, run with several seeds.

    Attributes:
        change: What differs from the first option.
        validation, test: Accuracy of each run on the rows held out and on the test rows, measured
            on the stored weights.
        epochs: Epochs of each run.
    """

    change: str
    validation: tuple[Share, ...]
    test: tuple[Share, ...]
    epochs: tuple[int, ...]


class Ablation(Record):
    """ablation.json in the folder of models: all options, the first of which changes nothing.

    Attributes:
        base: What is changed, in words.
        command: That made it.
        data: What the test rows are.
        n_validation, n_test: Numbers of rows.
        made: All runs together.
    """

    base: str
    command: str
    data: str
    seeds: tuple[int, ...]
    n_validation: int
    n_test: int
    options: tuple[Option, ...]
    made: TrainingRun


def read_ablation(models: Path) -> Ablation | None:
    """What changes of a recipe came to; None where nobody has tried.

    Raises:
        BundleError: The file is damaged.
    """
    return read_record(models / _ABLATION, Ablation)


def keep_ablation(models: Path, ablation: Ablation) -> None:
    """Put it into a folder of models, in place of the one there."""
    write_record(models / _ABLATION, ablation)
