"""Schema of models/teaching.json: how well new classes are taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.bundle.config import Record, Share, read_record, write_record

__all__ = ["Interval", "SuiteResult", "TeachingResults", "read_teaching", "write_teaching"]

_TEACHING = "teaching.json"


class Interval(Record):
    """A mean over episodes with its 95% confidence interval."""

    mean: float
    low: float
    high: float


class SuiteResult(Record):
    """Results of the episodes of one suite and size.

    Attributes:
        suite: Name of the suite.
        classes: Number of classes of an episode.
        photos: Number of photos of each class to learn from.
        episodes: Number of episodes.
        taught: Accuracy of a taught model.
        teachable_machine: Accuracy of a dense network on MobileNetV2's embedding.
        nearest_mean: Accuracy of the nearest class mean of standardised embeddings.
        fewer_errors: Three quarters of the errors of `teachable_machine` minus the errors of
            `taught`, as fractions of the photos, in the same episode.
        ece: Expected calibration error of all predictions of the taught models together.
        auroc: Area under the ROC curve of known_score, against photos of other things.
    """

    suite: str
    classes: Annotated[int, Field(ge=2)]
    photos: Annotated[int, Field(ge=1)]
    episodes: Annotated[int, Field(ge=2)]
    taught: Interval
    teachable_machine: Interval
    nearest_mean: Interval
    fewer_errors: Interval
    ece: Share
    auroc: Interval


class TeachingResults(Record):
    """Content of teaching.json.

    Attributes:
        base: Name of the model that was taught on.
        sha256: Digest of its model.tflite.
        command: The command line.
        date: Date in ISO format.
        suites: One result for each suite and size.
    """

    base: str
    sha256: str
    command: str
    date: str
    suites: tuple[SuiteResult, ...]


def read_teaching(models: Path) -> TeachingResults | None:
    """Read teaching.json in a models folder; None where there is none.

    Raises:
        BundleError: The file is damaged.
    """
    return read_record(models / _TEACHING, TeachingResults)


def write_teaching(models: Path, results: TeachingResults) -> None:
    """Write teaching.json in a models folder, replacing any earlier one."""
    write_record(models / _TEACHING, results)
