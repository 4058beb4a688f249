"""Metrics of all models, including those whose weights are not part of the repository."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from core.bundle.config import Config, Record, VerdictMethod, read_record, write_record
from core.bundle.folder import Bundle, find_bundles
from core.bundle.metrics import Metrics, OodMetrics

__all__ = [
    "OOD_METHODS",
    "ModelInfo",
    "best_method",
    "mean_and_spread",
    "read_models",
    "read_unbundled",
    "save_unbundled",
    "selectable",
]

OOD_METHODS: tuple[VerdictMethod, ...] = tuple(m for m in get_args(VerdictMethod) if m != "center")
"""All methods of computing known_score of a model with its own model.tflite."""

# Methods that store training embeddings beside the model.
_EMBEDDING_METHODS: tuple[VerdictMethod, ...] = ("knn",)
# Gain in mean AUROC that justifies their megabytes and time.
_MIN_GAIN = 0.005

_UNBUNDLED = "unbundled.json"


@dataclass(frozen=True)
class ModelInfo:
    """Configuration and metrics of a model.

    Attributes:
        config: Content of config.json.
        metrics: Content of metrics.json.
        revision: Revision of its bundle, 12 hex digits; None where only the metrics are stored.
    """

    config: Config
    metrics: Metrics
    revision: str | None

    @classmethod
    def of(cls, bundle: Bundle) -> ModelInfo:
        """Read the metrics of a bundle.

        Raises:
            BundleError: metrics.json is damaged.
        """
        return cls(bundle.config, bundle.metrics(), bundle.revision)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that the command line and the HTTP service list, as JSON types."""
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


def selectable(models: Sequence[ModelInfo], *always: str) -> list[ModelInfo]:
    """Filter the models that are listed for selection, keeping their order.

    Args:
        models: All available models.
        always: Names that are listed in any case, such as the default or the selected model.
    """
    return [each for each in models if each.config.offered or each.name in always]


def best_method(separations: Sequence[OodMetrics]) -> VerdictMethod:
    """Select the out-of-distribution method with the highest mean AUROC; ties go to the first.

    A method that stores training embeddings costs megabytes and time, so it is selected only where
    its mean AUROC is higher by at least 0.005.

    Args:
        separations: AUROC by method, one for each comparison; at least one method must be measured
            in all of them.
    """
    measured = [m for m in OOD_METHODS if all(m in each.auroc for each in separations)]
    mean_auroc = {m: statistics.mean(each.auroc[m] for each in separations) for m in measured}
    best = max(measured, key=mean_auroc.__getitem__)
    best_compact = max(
        (m for m in measured if m not in _EMBEDDING_METHODS), key=mean_auroc.__getitem__
    )
    return best if mean_auroc[best] >= mean_auroc[best_compact] + _MIN_GAIN else best_compact


def mean_and_spread(shares: Sequence[float]) -> tuple[float, float]:
    """Compute mean and sample standard deviation (n - 1) of at least two values."""
    return statistics.mean(shares), statistics.stdev(shares)


class _UnbundledModel(Record):
    """Configuration and metrics of one model."""

    config: Config
    metrics: Metrics


class _Unbundled(Record):
    """Content of unbundled.json in the models folder."""

    models: tuple[_UnbundledModel, ...] = ()


def read_models(models: Path) -> list[ModelInfo]:
    """Read the metrics of all models in a folder.

    Args:
        models: The models folder.

    Returns:
        Models sorted by name; those without stored weights come last.

    Raises:
        BundleError: A bundle or unbundled.json is damaged.
    """
    bundled = [ModelInfo.of(Bundle.open(folder)) for folder in find_bundles(models)]
    return bundled + read_unbundled(models)


def read_unbundled(models: Path) -> list[ModelInfo]:
    """Read the metrics of models whose weights are not stored, sorted by name.

    Raises:
        BundleError: unbundled.json is damaged.
    """
    unbundled = read_record(models / _UNBUNDLED, _Unbundled) or _Unbundled()
    bundled = {folder.name for folder in find_bundles(models)}
    return [
        ModelInfo(each.config, each.metrics, None)
        for each in unbundled.models
        if each.config.name not in bundled
    ]


def save_unbundled(models: Path, bundle: Bundle) -> None:
    """Add configuration and metrics of a model, without its weights, to unbundled.json.

    Args:
        models: The models folder.
        bundle: The model; an entry of the same name is replaced.

    Raises:
        BundleError: The bundle or the existing unbundled.json is damaged.
    """
    others = {model.name: model for model in read_unbundled(models)}
    others[bundle.config.name] = ModelInfo(bundle.config, bundle.metrics(), None)
    entries = tuple(
        _UnbundledModel(config=model.config, metrics=model.metrics)
        for _, model in sorted(others.items())
    )
    write_record(models / _UNBUNDLED, _Unbundled(models=entries))
