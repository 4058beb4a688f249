"""metrics.json of a model folder: everything that is measured on its stored weights."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import MODEL, VERDICT, Config, VerdictMethod
from core.bundle.folder import Bundle, write_bundle
from core.bundle.metrics import (
    BaselineMetrics,
    CorruptionMetrics,
    EpochMetrics,
    Metrics,
    OodMetrics,
    OutlierMetrics,
    PhotoMetrics,
    RealPhotoMetrics,
    ResizeMetrics,
)
from core.errors import DataError
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams
from core.settings import Settings
from core.training.data.datasets import (
    CIFAR10_LABELS,
    Dataset,
    Split,
    TinyHeldOut,
    hold_out,
    load_tiny_held_out,
)
from core.training.data.photos import LABELS, evaluate_photos, read_photos
from core.training.data.real_photos import (
    RealPhotos,
    RealPhotosParts,
    has_real_photos,
    load_real_photos,
)
from core.training.evaluation import report
from core.training.evaluation.evaluate import (
    compare_resizing,
    compare_resizing_of,
    confidence_metrics,
    evaluate_split,
    milliseconds,
)
from core.training.evaluation.ood import accuracy_of, coarse, compare, fit_ood_params, run_inference
from core.training.evaluation.provenance import origin
from core.training.evaluation.real_photos import (
    PhotoPredictions,
    cross_fitted_ece,
    photo_metrics,
    predict_photos,
)

__all__ = [
    "SHARP",
    "EvaluationData",
    "History",
    "SharpImages",
    "add_corruptions",
    "evaluate",
    "figures_on_parts",
    "measure",
    "method_choices",
    "photos_folder",
    "refuse_other_labels",
    "resize_choices",
]

SHARP = "Tiny ImageNet valid, classes that show one of the ten, the one half"
_SHARP_REPORTED = "Tiny ImageNet valid, classes that show one of the ten, the other half"
_CHOSEN_BY = "Tiny ImageNet, 30 classes of other things"
_REPORTED = "Tiny ImageNet, 24 other classes of other things"
_COARSE = "brought down to 32 pixels"
_VALID = "real photos, valid"
_UNSEEN = "real photos of sources that were left out"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """What metrics.json keeps under these names where it cannot be measured again."""

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
    shift: dict[str, CorruptionMetrics] | None = None
    shift_n: int = 0


@dataclass(frozen=True)
class EvaluationData:
    """What a model is chosen and measured by.

    Attributes:
        dataset: Whose labels the model has.
        learn, validation: Its train part, as `hold_out` cuts it.
        tiny: Tiny ImageNet's images that nothing is learned from; None for other labels than
            CIFAR-10's.
        names: What the test and the validation rows are, for people; None: as the data set is
            called.
        real: Real photos, where there are such; they are chosen by in place of Tiny ImageNet's.
    """

    dataset: Dataset
    learn: Split
    validation: Split
    tiny: TinyHeldOut | None
    names: tuple[str, str] | None = None
    real: RealPhotosParts | None = None

    @classmethod
    def of(cls, dataset: Dataset, settings: Settings) -> EvaluationData:
        """Cut and read them.

        Raises:
            DataError: Tiny ImageNet is missing.
        """
        ten = dataset.labels == CIFAR10_LABELS
        tiny = load_tiny_held_out(settings) if ten else None
        real = load_real_photos(settings) if ten and has_real_photos(settings) else None
        return cls(dataset, *hold_out(dataset.train), tiny, real=real)

    @classmethod
    def of_real_photos(
        cls, dataset: Dataset, settings: Settings, left_out: tuple[str, ...] = ()
    ) -> EvaluationData:
        """Cut and read them for a recipe that learns from real photos, without Tiny ImageNet.

        Args:
            dataset: Its labels are those of CIFAR-10.
            settings: `data` is used.
            left_out: Sources of photos that are for figures alone.

        Raises:
            DataError: Real photos are missing, or the data set has other labels.
        """
        if dataset.labels != CIFAR10_LABELS:
            raise DataError(
                f"{dataset.name} has labels of its own; real photos show those of CIFAR-10."
            )
        real = load_real_photos(settings, left_out)
        return cls(dataset, *hold_out(dataset.train), None, real=real)

    @property
    def sharp(self) -> SharpImages | None:
        """Return the images, sharper than the rows, that rules and methods are chosen by."""
        if self.real is not None:
            valid = self.real.valid
            known = valid.where(valid.known)
            return SharpImages(
                known.images,
                known.labels,
                f"{_VALID}, of the labels",
                valid.where(~valid.known).images,
                f"{_VALID}, of other things",
            )
        if self.tiny is not None:
            same, others = self.tiny.same, self.tiny.chosen_by
            return SharpImages(same.images, same.labels, SHARP, others.images, _CHOSEN_BY)
        return None


@dataclass(frozen=True, eq=False)
class SharpImages:
    """Images that are sharper than a data set's rows.

    Attributes:
        images: Of the labels, each of shape (h, w, 3), uint8.
        labels: Their labels, shape (n,).
        name: What they are, for people.
        others: Images of other things.
        others_name: What these are.
    """

    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    labels: NDArray[np.int64]
    name: str
    others: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    others_name: str


def evaluate(bundle: Bundle, rows: EvaluationData, settings: Settings, *, command: str) -> Bundle:
    """Measure a model anew, and write its metrics, plots and card.

    Weights, calibration and thresholds stay as they are.

    Args:
        bundle: The model; its labels must be those of the data set.
        rows: What to measure on.
        settings: `threads` is used; and `data`, for photos.
        command: What was typed, for the card.

    Raises:
        BundleError: The folder is damaged.
        DataError: The data set has other labels.
    """
    refuse_other_labels(bundle, rows.dataset.name, rows.dataset.labels)
    old = bundle.metrics()
    history = History(**{field.name: getattr(old, field.name) for field in fields(History)})
    if (resizing := resize_choices(bundle, rows, settings)) is not None:
        history = replace(history, resize=resizing)
    files = {name: bundle.read(name) for name in (MODEL, VERDICT) if name in bundle.config.sha256}
    return measure(bundle.folder, bundle.config, files, history, rows, settings, command)


def resize_choices(
    bundle: Bundle, rows: EvaluationData, settings: Settings
) -> ResizeMetrics | None:
    """Return what the resize rule is chosen by; None without sharper images than the rows.

    Args:
        bundle: The model.
        rows: Whose images are taken.
        settings: `threads` is used.
    """
    if rows.real is not None and (sharp := rows.sharp) is not None:
        return compare_resizing_of(
            bundle, list(sharp.images), sharp.labels, sharp.name, threads=settings.threads
        )
    if rows.tiny is not None:
        return compare_resizing(bundle, rows.tiny.same, SHARP, threads=settings.threads)
    return None


def refuse_other_labels(bundle: Bundle, name: str, labels: tuple[str, ...]) -> None:
    """See that a model can be measured on a data set of this name, with these labels.

    Raises:
        DataError: It has other labels.
    """
    if bundle.config.labels != labels:
        raise DataError(
            f"The model {bundle.config.name} knows {', '.join(bundle.config.labels)}; "
            f"{name} has {', '.join(labels)}. Evaluate it on data with its own labels."
        )


def measure(
    folder: Path,
    config: Config,
    files: dict[str, bytes],
    history: History,
    rows: EvaluationData,
    settings: Settings,
    command: str,
) -> Bundle:
    """Write a model folder with everything that is measured on its weights.

    Args:
        folder: Where to.
        config: Its config.json; the digests are made anew.
        files: Weights, and arrays of the verdict where there are such.
        history: What to keep where it cannot be measured here.
        rows: What to measure on.
        settings: `threads` is used; and `data`, for photos.
        command: That made these figures.
    """
    dataset, tiny = rows.dataset, rows.tiny
    of_test, of_validation = rows.names or (
        f"{dataset.name} test",
        f"{dataset.name} train, rows held out",
    )
    photos = photos_folder(settings, config.labels)
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / config.name, config, files)
        classifier = Classifier(draft, threads=settings.threads)
        test = evaluate_split(classifier, dataset.test, of_test, dataset.hub)
        metrics = Metrics(
            test=test,
            single_view=(
                test.accuracy
                if config.views == ("identity",)
                else _single_view(draft, dataset.test, settings)
            ),
            float32=history.float32,
            resize=history.resize,
            sharp=(
                None
                if tiny is None
                else confidence_metrics(classifier, tiny.same_reported, _SHARP_REPORTED)
            ),
            photos=history.photos if photos is None else evaluate_photos(classifier, photos),
            outliers=(
                None
                if tiny is None
                else _outliers(classifier, rows, tiny, photos, history.outliers)
            ),
            **_on_real_photos(classifier, rows, history),
            shift=history.shift,
            shift_n=history.shift_n,
            validation=evaluate_split(classifier, rows.validation, of_validation, dataset.hub),
            curves=history.curves,
            best_epoch=history.best_epoch,
            parameters=history.parameters,
            bytes=len(files[MODEL]),
            milliseconds=milliseconds(classifier),
            training_seconds=history.training_seconds,
            reported=history.reported,
            origin=origin(command),
        )
    return write_bundle(folder, config, files | report.files(config, metrics))


def add_corruptions(bundle: Bundle, shift: Mapping[str, CorruptionMetrics], n: int) -> Bundle:
    """Put figures on spoiled images into a model folder.

    Args:
        bundle: The model.
        shift: By way.
        n: How many rows they are of.
    """
    config = bundle.config
    metrics = bundle.metrics().model_copy(update={"shift": dict(shift), "shift_n": n})
    files = {name: bundle.read(name) for name in (MODEL, VERDICT) if name in config.sha256}
    return write_bundle(bundle.folder, config, files | report.files(config, metrics))


def photos_folder(settings: Settings, labels: tuple[str, ...]) -> Path | None:
    """The photos of the data folder, if it holds such; they show CIFAR-10's classes."""
    if settings.data is None or labels != CIFAR10_LABELS:
        return None
    folder = settings.data / "photos"
    return folder if (folder / LABELS).is_file() else None


def _single_view(bundle: Bundle, test: Split, settings: Settings) -> float:
    """Return the accuracy on the test rows as they are, without other views."""
    one_view = bundle.config.model_copy(update={"views": ("identity",)})
    alone = Classifier(replace(bundle, config=one_view), threads=settings.threads)
    return accuracy_of(run_inference(alone, test.images, "test"), test)


def _on_real_photos(
    classifier: Classifier, rows: EvaluationData, history: History
) -> dict[str, RealPhotoMetrics | None]:
    """Return the fields of metrics.json that are about real photos."""
    figures = {
        "real_photos": history.real_photos,
        "unseen_sources": history.unseen_sources,
        "real_photos_frozen": history.real_photos_frozen,
        "unseen_sources_frozen": history.unseen_sources_frozen,
    }
    if rows.real is not None:
        valid = predict_photos(classifier, rows.real.valid)
        given = {id(rows.real.valid): valid}
        figures |= figures_on_parts(
            rows.real,
            predict_photos(classifier, rows.real.kept_back),
            lambda photos: given.get(id(photos)) or predict_photos(classifier, photos),
        )
        if (on_valid := figures["real_photos"]) is not None:
            error = cross_fitted_ece(classifier, valid, rows.validation)
            figures["real_photos"] = on_valid.model_copy(update={"ece_cross_fitted": error})
    return figures


def figures_on_parts(
    parts: RealPhotosParts,
    kept_back: PhotoPredictions,
    answer: Callable[[RealPhotos], PhotoPredictions],
) -> dict[str, RealPhotoMetrics | None]:
    """Return `real_photos` and, where sources were left out, `unseen_sources` of metrics.json.

    Args:
        parts: The photos.
        kept_back: What a model gave on those of the kinds that are kept back.
        answer: What it gives on others.
    """
    figures: dict[str, RealPhotoMetrics | None] = {
        "real_photos": photo_metrics(answer(parts.valid), kept_back, CIFAR10_LABELS, _VALID)
    }
    if len(parts.unseen):
        unseen = answer(parts.unseen)
        figures["unseen_sources"] = photo_metrics(unseen, kept_back, CIFAR10_LABELS, _UNSEEN)
    return figures


def method_choices(
    classifier: Classifier,
    rows: EvaluationData,
    sharp: SharpImages,
    ood_params: Mapping[VerdictMethod, OodParams],
) -> tuple[OodMetrics, OodMetrics]:
    """What the method is chosen by.

    In the first, both kinds have 32 pixels; in the second, both are as sharp.

    Args:
        classifier: The model.
        rows: Whose validation rows are taken.
        sharp: Images that nothing is learned from.
        ood_params: What each method needs.
    """
    config, others = classifier.config, sharp.others
    return (
        compare(
            run_inference(classifier, rows.validation.images, "CIFAR-10 train, rows held out"),
            run_inference(
                classifier, coarse(classifier, others), f"{sharp.others_name}, {_COARSE}"
            ),
            config,
            ood_params,
        ),
        compare(
            run_inference(classifier, sharp.images, sharp.name),
            run_inference(classifier, others, sharp.others_name),
            config,
            ood_params,
        ),
    )


def _outliers(
    classifier: Classifier,
    rows: EvaluationData,
    tiny: TinyHeldOut,
    photos: Path | None,
    before: OutlierMetrics | None,
) -> OutlierMetrics:
    """How well each method tells what shows none of the labels."""
    config, ood_params = classifier.config, fit_ood_params(classifier, rows.learn)
    others = tiny.reported.images
    sharp = rows.sharp
    if sharp is None:
        raise DataError("There are no images to choose a method by.")
    of_photos = before.photos if before is not None else None
    if photos is not None:
        known, none = (
            run_inference(classifier, pixels, what) if pixels else None
            for pixels, what in zip(
                read_photos(classifier, photos),
                ("photos of a known class", "photos of none"),
                strict=True,
            )
        )
        if known is not None and none is not None:
            of_photos = compare(known, none, config, ood_params)
    return OutlierMetrics(
        chosen_by=method_choices(classifier, rows, sharp, ood_params),
        reported=(
            compare(
                run_inference(classifier, rows.dataset.test.images, "CIFAR-10 test"),
                run_inference(classifier, coarse(classifier, others), f"{_REPORTED}, {_COARSE}"),
                config,
                ood_params,
            ),
            compare(
                run_inference(classifier, tiny.same_reported.images, _SHARP_REPORTED),
                run_inference(classifier, others, _REPORTED),
                config,
                ood_params,
            ),
        ),
        photos=of_photos,
    )
