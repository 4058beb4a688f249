"""Schema of models/ablation.json: results of the ablation study."""

from __future__ import annotations

from pathlib import Path

from core.bundle.config import Record, Share, TrainingRun, read_record, write_record

__all__ = ["Ablation", "Option", "read_ablation", "write_ablation"]

_ABLATION = "ablation.json"


class Option(Record):
    """One change of the recipe, run with several seeds.

    Attributes:
        change: Difference to the first option, in words.
        validation, test: Accuracy of each run on the validation rows and on the test split,
            measured on the stored weights.
        epochs: Number of epochs of each run.
    """

    change: str
    validation: tuple[Share, ...]
    test: tuple[Share, ...]
    epochs: tuple[int, ...]


class Ablation(Record):
    """Content of ablation.json: all options, the first of which changes nothing.

    Attributes:
        base: The recipe that is changed, in words.
        command: The command line.
        data: The test split, in words.
        seeds: Seed of each run.
        n_validation, n_test: Number of validation and test images.
        options: Results by option.
        made: Totals of all runs.
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
    """Read ablation.json in a models folder; None where there is none.

    Raises:
        BundleError: The file is damaged.
    """
    return read_record(models / _ABLATION, Ablation)


def write_ablation(models: Path, ablation: Ablation) -> None:
    """Write ablation.json in a models folder, replacing any earlier one."""
    write_record(models / _ABLATION, ablation)
