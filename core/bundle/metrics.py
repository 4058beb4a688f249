"""metrics.json: every figure that the page and the model card show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.bundle.config import Count, Record, Share, VerdictMethod
from core.photos.preprocess import ResizeRule

__all__ = [
    "Calibration",
    "Certainty",
    "ClassFigures",
    "Curve",
    "Estimate",
    "Metrics",
    "Mistake",
    "Origin",
    "OutlierFigures",
    "PhotoFigures",
    "RealPhotoFigures",
    "Reported",
    "ResizeFigures",
    "Separation",
    "ShiftFigures",
    "SourceFigures",
    "SplitFigures",
]


class Mistake(Record):
    """An answer that was wrong; `row` counts in the official order of the data set's part."""

    row: Count
    label: str
    answer: str
    confidence: Share


class ClassFigures(Record):
    """Figures of one class; `support` is its number of rows."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


class Calibration(Record):
    """One bin of the reliability diagram: confidences in (low, high]; means are null when empty."""

    low: Share
    high: Share
    n: Count
    confidence: Share | None
    accuracy: Share | None


class SplitFigures(Record):
    """What a model gives on one set of rows.

    Attributes:
        hub: Name of the data set on the Hub, where it is there.
        precision, recall, f1: Means over the classes (macro).
        log_loss: Mean negative log-likelihood, nats, of the calibrated probabilities.
        ece: Expected calibration error, 15 equal bins of confidence.
        confusion: Rows are true classes, columns are answers.
        verdicts: Rows by verdict.
        mistakes: The most confident of them, at most 20.
    """

    data: str
    hub: str | None = None
    n: Annotated[int, Field(ge=1)]
    accuracy: Share
    precision: Share
    recall: Share
    f1: Share
    log_loss: Annotated[float, Field(ge=0)]
    ece: Share
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[Count, ...], ...]
    reliability: tuple[Calibration, ...]
    verdicts: dict[Literal["known", "unsure", "none"], Count]
    mistakes: tuple[Mistake, ...] = ()


class Curve(Record):
    """One epoch of training, one view each.

    Losses are what the recipe makes small, label smoothing included, in nats; accuracies are shares
    of 1.
    """

    epoch: int
    loss: float
    accuracy: Share
    validation_loss: float
    validation_accuracy: Share


class Reported(Record):
    """The student report's figures for its model of this name."""

    accuracy: Share
    precision: Share
    recall: Share
    f1: Share


class Estimate(Record):
    """A share of n photos, 0 to 1, with its 95% interval (Wilson 1927)."""

    n: Annotated[int, Field(ge=1)]
    share: Share
    low: Share
    high: Share


class PhotoFigures(Record):
    """What a model gives on a folder of photos.

    Attributes:
        n: Photos in all.
        accuracy: Photos of a known class that got their label, whatever the verdict; null where
            there are none.
        recall: The same for each class that has photos.
        known_and_right: Photos of a known class with the verdict `known` and their label.
        known_told_none: Photos of a known class with the verdict `none`.
        told_none: Photos of no known class with the verdict `none`; null where there are none.
        taken_for_known: Photos of no known class with the verdict `known`.
        confidence: Mean confidence on the photos of a known class.
        ece: Expected calibration error on them, 15 equal bins; of few photos a rough figure.
    """

    n: Count
    accuracy: Estimate | None
    recall: dict[str, Estimate]
    known_and_right: Estimate | None = None
    known_told_none: Estimate | None = None
    told_none: Estimate | None
    taken_for_known: Estimate | None
    confidence: Share | None = None
    ece: Share | None = None


class SourceFigures(Record):
    """Figures on the photos of one source.

    Attributes:
        source: Name of the repository.
        accuracy: Photos of the labels that got theirs; null where there are none.
        n_none: Photos of none of the labels.
        auroc: Area under the ROC curve of the former against the latter; null where one is missing.
    """

    source: str
    accuracy: Estimate | None
    n_none: Count
    auroc: Share | None


class RealPhotoFigures(Record):
    """What a model gives on real photos of known sources.

    Attributes:
        data: What the photos are.
        accuracy: Photos of the labels that got theirs, whatever the verdict.
        recall: The same for each label that has photos.
        auroc: Area under the ROC curve of known_score, photos of the labels against those of none;
            null where there are none.
        rejected: Photos of none that are rejected where 95% of those of the labels are accepted.
        auroc_kept_back, rejected_kept_back: The same for photos of kinds that nothing was learned
            from or chosen by.
        rejected_kinds, rejected_kept_back_kinds: The same by kind, of `none` where there are at
            least five photos.
        confidence: Mean on the photos of the labels; null for a model without calibration.
        ece: Expected calibration error on them, 15 equal bins.
        sources: By source.
    """

    data: str
    accuracy: Estimate
    recall: dict[str, Estimate]
    auroc: Share | None
    n_none: Count
    rejected: Estimate | None
    auroc_kept_back: Share | None
    n_kept_back: Count
    rejected_kept_back: Estimate | None
    rejected_kinds: dict[str, Estimate]
    rejected_kept_back_kinds: dict[str, Estimate]
    confidence: Share | None = None
    ece: Share | None = None
    sources: tuple[SourceFigures, ...]


class Certainty(Record):
    """How sure a model is on images of its labels, and how right.

    Attributes:
        confidence: Mean.
        ece: Expected calibration error, 15 equal bins.
    """

    data: str
    n: Annotated[int, Field(ge=1)]
    accuracy: Share
    confidence: Share
    ece: Share


class ResizeFigures(Record):
    """How right a model is on photos that are no squares, by the rule that brings them to size."""

    data: str
    n: Annotated[int, Field(ge=1)]
    accuracy: dict[ResizeRule, Share]


class Separation(Record):
    """How well known_score tells images of the known labels from others, by method.

    Attributes:
        known, none: What the images of each kind are; there are n_known and n_none of them.
        auroc: Area under the receiver operating characteristic: the share of pairs of one image of
            each kind in which the known one has the higher score.
        fpr95: Share of the others that score higher than the lowest twentieth of the known.
        known_told_none, none_told_none: Share of each with the model's verdict `none`.
    """

    known: str
    none: str
    n_known: Annotated[int, Field(ge=1)]
    n_none: Annotated[int, Field(ge=1)]
    auroc: dict[VerdictMethod, Share]
    fpr95: dict[VerdictMethod, Share]
    known_told_none: Share
    none_told_none: Share


class OutlierFigures(Record):
    """Images of none of the labels.

    Attributes:
        chosen_by: What the method was chosen by: the largest mean of the areas.
        reported: On other images, of other things.
        photos: On the photos of the data folder; null where there are none.
    """

    chosen_by: tuple[Separation, ...]
    reported: tuple[Separation, ...]
    photos: Separation | None = None


class ShiftFigures(Record):
    """Figures on images that were spoiled in one way, at strengths 1 to 5."""

    accuracy: tuple[Share, Share, Share, Share, Share]
    ece: tuple[Share, Share, Share, Share, Share]


class Origin(Record):
    """How the figures came to be."""

    command: str
    hardware: str
    commit: str
    date: str
    versions: dict[str, str]


class Metrics(Record):
    """metrics.json: every figure that page and card show, measured on the stored weights.

    Attributes:
        parameters: Numbers that were trained or estimated (batch norm's statistics included).
        bytes: Size of the weights file.
        milliseconds: Median time of one photo at batch 1, all views, decoding apart; the hardware
            is that of `origin`.
        best_epoch: Whose weights these are, chosen on the validation rows; null, as there are no
            curves, for a model that was trained elsewhere.
        single_view: Accuracy on the test rows as they are, without other views.
        float32: Accuracy on the test rows, all views, with the weights as they were trained.
        resize: What the resize rule was chosen by.
        sharp: On photos of the known labels that are sharper than the rows: what the resize rule
            was chosen by, as they are.
        photos: On the photos of the data folder.
        outliers: On images of none of the labels.
        real_photos: On the valid part of the real photos, which calibration, resize rule and
            verdict were chosen by, together with held-out rows.
        unseen_sources: On all photos of the sources that this model's recipe left out.
        real_photos_frozen, unseen_sources_frozen: What the network gave on the same photos before
            it was fine-tuned: a logistic regression on the features that it began with.
        shift: On the first `shift_n` test rows, spoiled; by the name of the way.
            All of these are null where they were not measured.
    """

    schema_version: Literal[1] = 1
    test: SplitFigures
    single_view: Share | None = None
    float32: Share | None = None
    validation: SplitFigures
    resize: ResizeFigures | None = None
    sharp: Certainty | None = None
    photos: PhotoFigures | None = None
    outliers: OutlierFigures | None = None
    real_photos: RealPhotoFigures | None = None
    unseen_sources: RealPhotoFigures | None = None
    real_photos_frozen: RealPhotoFigures | None = None
    unseen_sources_frozen: RealPhotoFigures | None = None
    shift: dict[str, ShiftFigures] | None = None
    shift_n: Count = 0
    curves: tuple[Curve, ...]
    best_epoch: int | None = None
    parameters: Count
    bytes: Count
    milliseconds: Annotated[float, Field(gt=0)]
    training_seconds: Annotated[float, Field(ge=0)]
    reported: Reported | None
    origin: Origin

    @property
    def lost(self) -> float | None:
        """How much of `float32` the stored number format costs; below 0 where it gains."""
        return None if self.float32 is None else self.float32 - self.test.accuracy
