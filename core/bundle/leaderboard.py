"""Figures of every model in one list, also of those whose weights are not kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from core.bundle.config import Config, Record, VerdictMethod, first_problem
from core.bundle.folder import Bundle, find_bundles
from core.bundle.metrics import Metrics, Separation
from core.errors import BundleError

__all__ = [
    "METHODS",
    "Result",
    "best_method",
    "keep_figures",
    "mean_and_spread",
    "offered",
    "read_record",
    "read_results",
    "read_unbundled",
    "write_record",
]

METHODS: tuple[VerdictMethod, ...] = get_args(VerdictMethod)
"""All ways to tell known_score."""

# Needs rows to compare with, `known_score.ARRAYS`.
_STORING: tuple[VerdictMethod, ...] = ("knn",)
_WORTH = 0.005

_UNBUNDLED = "unbundled.json"

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class Result:
    """What is known of a model.

    Attributes:
        config: Its config.json.
        metrics: Its metrics.json.
        revision: As of its bundle; None where only the figures are kept.
    """

    config: Config
    metrics: Metrics
    revision: str | None

    def to_dict(self) -> dict[str, Any]:
        """One row, of types that JSON has."""
        test, training, pretrained = self.metrics.test, self.config.training, None
        if training.pretrained is not None:
            pretrained = training.pretrained.model_dump(mode="json")
        reported = self.metrics.reported
        return {
            "name": self.config.name,
            "title": self.config.title,
            "family": self.config.family,
            "revision": self.revision,
            "labels": self.config.labels,
            "accuracy": test.accuracy,
            "precision": test.precision,
            "recall": test.recall,
            "f1": test.f1,
            "ece": test.ece,
            "test": {"data": test.data, "n": test.n},
            "reported": reported.model_dump(mode="json") if reported else None,
            "resize": self.config.input.resize,
            "views": len(self.config.views),
            "weights": self.config.precision,
            "parameters": self.metrics.parameters,
            "bytes": self.metrics.bytes,
            "milliseconds": self.metrics.milliseconds,
            "hardware": self.metrics.origin.hardware,
            "trained": {
                "recipe": training.recipe,
                "data": training.data,
                "pretrained": pretrained,
                "epochs": training.epochs,
                "seconds": self.metrics.training_seconds,
                "hardware": training.hardware,
                "date": training.date,
                "commit": training.commit,
            },
        }


def offered(results: Sequence[Result], *named: str) -> list[Result]:
    """Those that a switch between models shows, in their order.

    Args:
        results: All that answer.
        named: Which are shown whether they are offered or not: the default one, the one chosen.
    """
    return [each for each in results if each.config.offered or each.config.name in named]


def best_method(separations: Sequence[Separation]) -> VerdictMethod:
    """The way to tell known_score with the largest mean area; of equal ones the first.

    One that needs megabytes beside the model, and time, must be better by .005.
    """
    measured = [m for m in METHODS if all(m in each.auroc for each in separations)]
    areas = {m: statistics.mean(each.auroc[m] for each in separations) for m in measured}
    best = max(measured, key=areas.__getitem__)
    alone = max((m for m in measured if m not in _STORING), key=areas.__getitem__)
    return best if areas[best] >= areas[alone] + _WORTH else alone


def mean_and_spread(shares: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of at least two."""
    return statistics.mean(shares), statistics.stdev(shares)


class _Figures(Record):
    config: Config
    metrics: Metrics


class _Unbundled(Record):
    """unbundled.json in the folder of models."""

    models: tuple[_Figures, ...] = ()


def read_results(models: Path) -> list[Result]:
    """Of all models in a folder, by name; those whose weights are not kept come last.

    Raises:
        BundleError: One of them is damaged.
    """
    bundles = [Bundle.open(folder) for folder in find_bundles(models)]
    kept = [Result(bundle.config, bundle.metrics(), bundle.revision) for bundle in bundles]
    return kept + read_unbundled(models)


def read_unbundled(models: Path) -> list[Result]:
    """Of those models whose weights are not kept.

    Raises:
        BundleError: Their file is damaged.
    """
    figures = read_record(models / _UNBUNDLED, _Unbundled) or _Unbundled()
    kept = {folder.name for folder in find_bundles(models)}
    return [
        Result(each.config, each.metrics, None)
        for each in figures.models
        if each.config.name not in kept
    ]


def keep_figures(models: Path, bundle: Bundle) -> None:
    """Put the figures of a model beside the folders of those whose weights are kept.

    Raises:
        BundleError: What is there is damaged.
    """
    others = {result.config.name: result for result in read_unbundled(models)}
    others[bundle.config.name] = Result(bundle.config, bundle.metrics(), None)
    figures = [
        _Figures(config=result.config, metrics=result.metrics)
        for _, result in sorted(others.items())
    ]
    write_record(models / _UNBUNDLED, _Unbundled(models=tuple(figures)))


def read_record(file: Path, kind: type[Kind]) -> Kind | None:
    """Read a record; None where there is no file.

    Raises:
        BundleError: The file is damaged.
    """
    if not file.is_file():
        return None
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise BundleError(
            f"{file} does not hold the figures that belong there: {why} Fetch it again; or delete "
            "it, and train again what it was about."
        ) from error


def write_record(file: Path, record: BaseModel) -> None:
    """Write a record beside the file, then replace it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    new.replace(file)
