"""Measure a model on its stored weights, and write its folder with metrics, plots and card."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from core.bundle.config import MODEL, SPACE, VERDICT, Config
from core.bundle.folder import Bundle, write_bundle
from core.bundle.metrics import (
    BaselineMetrics,
    CorruptionMetrics,
    EpochMetrics,
    Metrics,
    OutlierMetrics,
    PhotoMetrics,
    PointingMetrics,
    RealPhotoMetrics,
    ResizeMetrics,
)
from core.errors import DataError
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams
from core.settings import Settings
from core.training.data.labelled_photos import find_photos_folder
from core.training.data.real_photos import RealPhotos
from core.training.evaluation import report
from core.training.evaluation.evaluate import confidence_metrics, evaluate_split, measure_latency
from core.training.evaluation.evaluation_data import REAL_PHOTOS, EvaluationData
from core.training.evaluation.model_outputs import bundle_accuracy
from core.training.evaluation.ood_evaluation import TINY_KNOWN_EVALUATION, outlier_metrics
from core.training.evaluation.photos import evaluate_photos
from core.training.evaluation.pointing_game import Explain, measure_pointing
from core.training.evaluation.provenance import provenance
from core.training.evaluation.real_photos import (
    PhotoPredictions,
    cross_fitted_ece,
    metrics_by_part,
    predict_photos,
)
from core.training.evaluation.resizing import compare_resize_rules
from core.training.evaluation.selection import complete_config
from core.training.evaluation.verdict_probe import TinyProbe
from core.training.photo_plan import PhotoPlan

__all__ = [
    "History",
    "add_corruptions",
    "check_same_labels",
    "evaluate",
    "measure",
    "recalibrate",
]


@dataclass(frozen=True)
class History:
    """Fields of metrics.json that are kept where they cannot be measured again.

    `core.bundle.metrics.Metrics` defines the fields of these names.
    """

    curves: tuple[EpochMetrics, ...]
    best_epoch: int | None
    parameters: int
    training_seconds: float
    reported: BaselineMetrics | None
    float32: float | None = None
    resize: ResizeMetrics | None = None
    photos: PhotoMetrics | None = None
    outliers: OutlierMetrics | None = None
    real_photos: RealPhotoMetrics | None = None
    unseen_sources: RealPhotoMetrics | None = None
    real_photos_frozen: RealPhotoMetrics | None = None
    unseen_sources_frozen: RealPhotoMetrics | None = None
    pointing: PointingMetrics | None = None
    shift: dict[str, CorruptionMetrics] | None = None
    shift_n: int = 0


def evaluate(bundle: Bundle, data: EvaluationData, settings: Settings, *, command: str) -> Bundle:
    """Measure a stored model again, and replace its metrics, plots and card.

    Weights, calibration and thresholds stay the same.

    Args:
        bundle: The model; its labels must be those of the data set.
        data: Data to evaluate on.
        settings: `threads` is used; and `data`, for `photos/`.
        command: The command line, for the card.

    Raises:
        BundleError: The folder is damaged.
        DataError: The data set has other labels, or a photo cannot be read.
    """
    check_same_labels(bundle, data.dataset.name, data.dataset.labels)
    history = _history(bundle)
    if (resizing := compare_resize_rules(bundle, data, settings)) is not None:
        history = replace(history, resize=resizing)
    return measure(
        bundle.folder, bundle.config, _stored_files(bundle), history, data, settings, command
    )


def recalibrate(
    bundle: Bundle,
    data: EvaluationData,
    settings: Settings,
    *,
    command: str,
    plan: PhotoPlan | None = None,
) -> Bundle:
    """Select and fit the inference settings of a stored model again, and measure it.

    These are resize rule, calibration, verdict method and thresholds; the weights stay the same.

    Args:
        bundle: The model; its labels must be those of the data set.
        data: Data to select and to evaluate on.
        settings: `threads` is used; and `data`, for `photos/`.
        command: The command line, for the card.
        plan: Plan of the model's recipe, for the probe of the verdict; None if it has none.

    Raises:
        BundleError: The folder is damaged.
        DataError: The data set has other labels, a photo cannot be read, or Tiny ImageNet or real
            photos, which the plan needs, are missing.
    """
    check_same_labels(bundle, data.dataset.name, data.dataset.labels)
    probe: OodParams | TinyProbe | None = TinyProbe.from_plan(plan, settings)
    if probe is None and bundle.config.verdict.method == "probe":
        probe = Classifier(bundle, threads=settings.threads).ood_params
    config, files, resizing = complete_config(bundle, data, settings, probe)
    history = replace(_history(bundle), resize=resizing)
    kept = {name: file for name, file in _stored_files(bundle).items() if name != VERDICT}
    return measure(bundle.folder, config, kept | files, history, data, settings, command)


def _history(bundle: Bundle) -> History:
    metrics = bundle.metrics()
    return History(**{field.name: getattr(metrics, field.name) for field in fields(History)})


def check_same_labels(bundle: Bundle, name: str, labels: tuple[str, ...]) -> None:
    """Check that a model has the labels of a data set.

    Args:
        bundle: The model.
        name: Name of the data set.
        labels: Labels of the data set.

    Raises:
        DataError: The model has other labels.
    """
    if bundle.config.labels != labels:
        raise DataError(
            f"The model {bundle.config.name} has the labels {', '.join(bundle.config.labels)}; "
            f"{name} has {', '.join(labels)}. Evaluate it on data with its own labels."
        )


def measure(
    folder: Path,
    config: Config,
    files: dict[str, bytes],
    history: History,
    data: EvaluationData,
    settings: Settings,
    command: str,
    gradient: Explain | None = None,
) -> Bundle:
    """Write a model folder with metrics that are measured on its weights.

    Args:
        folder: Model folder to write.
        config: Its config.json; the digests are computed here.
        files: Weights, and parameters of the verdict method if it has any, by file name.
        history: Metrics to keep where they cannot be measured here.
        data: Data to evaluate on.
        settings: `threads` is used; and `data`, for `photos/`.
        command: The command line, for the card.
        gradient: Input gradients of the network, the baseline of the pointing game; None to keep
            its stored result.

    Raises:
        BundleError: The folder cannot be written.
        DataError: A photo cannot be read.
    """
    dataset, tiny = data.dataset, data.tiny
    test_name, validation_name = data.names or (
        f"{dataset.name} test",
        f"{dataset.name} train, validation rows",
    )
    photos = find_photos_folder(settings, config.labels)
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / config.name, config, files)
        classifier = Classifier(draft, threads=settings.threads)
        test = evaluate_split(classifier, dataset.test, test_name, dataset.hub)
        metrics = Metrics(
            test=test,
            single_view=(
                test.accuracy
                if config.views == ("identity",)
                else bundle_accuracy(draft, dataset.test, threads=settings.threads, one_view=True)
            ),
            float32=history.float32,
            resize=history.resize,
            sharp=(
                None
                if tiny is None
                else confidence_metrics(classifier, tiny.known_evaluation, TINY_KNOWN_EVALUATION)
            ),
            photos=history.photos if photos is None else evaluate_photos(classifier, photos),
            outliers=(
                None
                if tiny is None
                else outlier_metrics(classifier, data, tiny, photos, history.outliers)
            ),
            **_real_photo_fields(classifier, data, history, gradient),
            shift=history.shift,
            shift_n=history.shift_n,
            validation=evaluate_split(classifier, data.validation, validation_name, dataset.hub),
            curves=history.curves,
            best_epoch=history.best_epoch,
            parameters=history.parameters,
            bytes=len(files[MODEL]),
            milliseconds=measure_latency(classifier),
            training_seconds=history.training_seconds,
            reported=history.reported,
            origin=provenance(command),
        )
    return write_bundle(folder, config, files | report.files(config, metrics))


def add_corruptions(bundle: Bundle, shift: Mapping[str, CorruptionMetrics], n: int) -> Bundle:
    """Add the metrics under common corruptions to a model folder.

    Args:
        bundle: The model.
        shift: Metrics by name of the corruption.
        n: Number of images that they were measured on.

    Raises:
        BundleError: The folder is damaged.
    """
    metrics = bundle.metrics().model_copy(update={"shift": dict(shift), "shift_n": n})
    return write_bundle(
        bundle.folder, bundle.config, _stored_files(bundle) | report.files(bundle.config, metrics)
    )


def _stored_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the files that an evaluation cannot regenerate, by file name."""
    names = (MODEL, VERDICT, SPACE)
    return {name: bundle.read(name) for name in names if name in bundle.config.sha256}


def _real_photo_fields(
    classifier: Classifier, data: EvaluationData, history: History, gradient: Explain | None
) -> dict[str, RealPhotoMetrics | PointingMetrics | None]:
    """Return the fields of metrics.json about real photos, measured here or kept."""
    kept_fields: dict[str, RealPhotoMetrics | PointingMetrics | None] = {
        "real_photos": history.real_photos,
        "unseen_sources": history.unseen_sources,
        "real_photos_frozen": history.real_photos_frozen,
        "unseen_sources_frozen": history.unseen_sources_frozen,
        "pointing": history.pointing,
    }
    if data.real is None:
        return kept_fields
    valid = data.real.valid
    on_valid = predict_photos(classifier, valid)

    def predict(photos: RealPhotos) -> PhotoPredictions:
        return on_valid if photos is valid else predict_photos(classifier, photos)

    by_part = metrics_by_part(data.real, predict)
    if (metrics := by_part["real_photos"]) is not None:
        error = cross_fitted_ece(classifier, on_valid, data.validation)
        by_part["real_photos"] = metrics.model_copy(update={"ece_cross_fitted": error})
    pointing = measure_pointing(classifier, on_valid, REAL_PHOTOS, gradient=gradient)
    if pointing is not None and gradient is None and history.pointing is not None:
        kept = {"input_gradient": history.pointing.input_gradient}
        pointing = pointing.model_copy(update=kept)
    return kept_fields | by_part | {"pointing": pointing}
