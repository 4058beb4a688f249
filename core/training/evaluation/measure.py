"""metrics.json of a model folder: everything that is measured on its stored weights."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from core.bundle.config import MODEL, VERDICT, Config, VerdictMethod
from core.bundle.folder import Bundle, write_bundle
from core.bundle.metrics import (
    Curve,
    Metrics,
    OutlierFigures,
    PhotoFigures,
    Reported,
    ResizeFigures,
    Separation,
    ShiftFigures,
)
from core.errors import DataError
from core.inference.classifier import Classifier
from core.inference.known_score import Arrays
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
from core.training.evaluation import report
from core.training.evaluation.evaluate import (
    certainty,
    compare_resizing,
    evaluate_split,
    milliseconds,
)
from core.training.evaluation.ood import arrays_of, coarse, compare, share_right, watch
from core.training.evaluation.provenance import origin

__all__ = [
    "SHARP",
    "History",
    "Rows",
    "add_shift",
    "evaluate",
    "measure",
    "method_choices",
    "photos_folder",
    "refuse_other_labels",
]

SHARP = "Tiny ImageNet valid, classes that show one of the ten, the one half"
_SHARP_REPORTED = "Tiny ImageNet valid, classes that show one of the ten, the other half"
_CHOSEN_BY = "Tiny ImageNet, 30 classes of other things"
_REPORTED = "Tiny ImageNet, 24 other classes of other things"
_COARSE = "brought down to 32 pixels"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """What metrics.json keeps under these names where it cannot be measured again."""

    curves: tuple[Curve, ...]
    best_epoch: int | None
    parameters: int
    training_seconds: float
    reported: Reported | None
    float32: float | None = None
    resize: ResizeFigures | None = None
    photos: PhotoFigures | None = None
    outliers: OutlierFigures | None = None
    shift: dict[str, ShiftFigures] | None = None
    shift_n: int = 0


@dataclass(frozen=True)
class Rows:
    """What a model is chosen and measured by.

    Attributes:
        dataset: Whose labels the model has.
        learn, validation: Its train part, as `hold_out` cuts it.
        tiny: Tiny ImageNet's images that nothing is learned from; None for other labels than
            CIFAR-10's.
        names: What the test and the validation rows are, for people; None: as the data set is
            called.
    """

    dataset: Dataset
    learn: Split
    validation: Split
    tiny: TinyHeldOut | None
    names: tuple[str, str] | None = None

    @classmethod
    def of(cls, dataset: Dataset, settings: Settings) -> Rows:
        """Cut and read them.

        Raises:
            DataError: Tiny ImageNet is missing.
        """
        tiny = load_tiny_held_out(settings) if dataset.labels == CIFAR10_LABELS else None
        return cls(dataset, *hold_out(dataset.train), tiny)


def evaluate(bundle: Bundle, rows: Rows, settings: Settings, *, command: str) -> Bundle:
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
    if rows.tiny is not None:
        resizing = compare_resizing(bundle, rows.tiny.same, SHARP, threads=settings.threads)
        history = replace(history, resize=resizing)
    files = {name: bundle.read(name) for name in (MODEL, VERDICT) if name in bundle.config.sha256}
    return measure(bundle.folder, bundle.config, files, history, rows, settings, command)


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
    rows: Rows,
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
        one_view = draft.config.model_copy(update={"views": ("identity",)})
        alone = Classifier(replace(draft, config=one_view), threads=settings.threads)
        single = watch(alone, dataset.test.images, "test")
        metrics = Metrics(
            test=evaluate_split(classifier, dataset.test, of_test, dataset.hub),
            single_view=share_right(single, dataset.test),
            float32=history.float32,
            resize=history.resize,
            sharp=(
                None if tiny is None else certainty(classifier, tiny.same_reported, _SHARP_REPORTED)
            ),
            photos=history.photos if photos is None else evaluate_photos(classifier, photos),
            outliers=(
                None
                if tiny is None
                else _outliers(classifier, rows, tiny, photos, history.outliers)
            ),
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


def add_shift(bundle: Bundle, shift: Mapping[str, ShiftFigures], n: int) -> Bundle:
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


def method_choices(
    classifier: Classifier, rows: Rows, tiny: TinyHeldOut, arrays: Mapping[VerdictMethod, Arrays]
) -> tuple[Separation, Separation]:
    """What the method is chosen by.

    In the first, both kinds have 32 pixels; in the second, both come from one data set.

    Args:
        classifier: The model.
        rows: Whose validation rows are taken.
        tiny: Tiny ImageNet's images that nothing is learned from.
        arrays: What each method needs.
    """
    config, others = classifier.config, tiny.chosen_by.images
    return (
        compare(
            watch(classifier, rows.validation.images, "CIFAR-10 train, rows held out"),
            watch(classifier, coarse(classifier, others), f"{_CHOSEN_BY}, {_COARSE}"),
            config,
            arrays,
        ),
        compare(
            watch(classifier, tiny.same.images, SHARP),
            watch(classifier, others, _CHOSEN_BY),
            config,
            arrays,
        ),
    )


def _outliers(
    classifier: Classifier,
    rows: Rows,
    tiny: TinyHeldOut,
    photos: Path | None,
    before: OutlierFigures | None,
) -> OutlierFigures:
    """How well each method tells what shows none of the labels."""
    config, arrays = classifier.config, arrays_of(classifier, rows.learn)
    others = tiny.reported.images
    of_photos = before.photos if before is not None else None
    if photos is not None:
        known, none = (
            watch(classifier, pixels, what) if pixels else None
            for pixels, what in zip(
                read_photos(classifier, photos),
                ("photos of a known class", "photos of none"),
                strict=True,
            )
        )
        if known is not None and none is not None:
            of_photos = compare(known, none, config, arrays)
    return OutlierFigures(
        chosen_by=method_choices(classifier, rows, tiny, arrays),
        reported=(
            compare(
                watch(classifier, rows.dataset.test.images, "CIFAR-10 test"),
                watch(classifier, coarse(classifier, others), f"{_REPORTED}, {_COARSE}"),
                config,
                arrays,
            ),
            compare(
                watch(classifier, tiny.same_reported.images, _SHARP_REPORTED),
                watch(classifier, others, _REPORTED),
                config,
                arrays,
            ),
        ),
        photos=of_photos,
    )
