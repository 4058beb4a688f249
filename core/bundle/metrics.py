"""Schema of metrics.json: the evaluation results that the page and the model card show."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from core.bundle.config import Count, Record, Share, VerdictMethod
from core.photos.preprocess import ResizeRule

__all__ = [
    "BaselineMetrics",
    "ClassMetrics",
    "ConfidenceMetrics",
    "CorruptionMetrics",
    "EpochMetrics",
    "Metrics",
    "Misclassification",
    "OodMetrics",
    "OutlierMetrics",
    "PhotoMetrics",
    "PhotoMisclassification",
    "PointingMetrics",
    "ProportionEstimate",
    "Provenance",
    "RealPhotoMetrics",
    "ReliabilityBin",
    "ResizeMetrics",
    "SourceMetrics",
    "SplitMetrics",
    "TaughtMetrics",
]


_MAX_VERSIONS = 50
# The 97.5th percentile of the standard normal distribution, for a 95% interval.
_Z = 1.959963984540054
_Version = Annotated[str, Field(max_length=100)]


class Misclassification(Record):
    """A misclassified image.

    Attributes:
        row: Index in the official order of the data set's split.
        label: True label.
        answer: Predicted label.
        confidence: Calibrated probability of the predicted label.
    """

    row: Count
    label: str
    answer: str
    confidence: Share


class ClassMetrics(Record):
    """Metrics of one class; `support` is the number of its rows."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


class ReliabilityBin(Record):
    """One bin of the reliability diagram: confidences in (low, high].

    Attributes:
        n: Number of images in the bin.
        confidence, accuracy: Means over them; null where the bin is empty.
    """

    low: Share
    high: Share
    n: Count
    confidence: Share | None
    accuracy: Share | None


class SplitMetrics(Record):
    """Evaluation results on one data split.

    Attributes:
        data: The split in words.
        hub: Hub name of the data set; null where it is not on the Hub.
        n: Number of images.
        accuracy: Share of correct labels, whatever the verdict.
        precision, recall, f1: Macro averages over the classes.
        log_loss: Mean negative log-likelihood of the calibrated probabilities, in nats.
        ece: Expected calibration error, 15 equal-width bins of confidence.
        classes: Metrics of each class, in the order of the labels.
        confusion: Confusion matrix; rows are true classes, columns are predictions.
        reliability: Bins of the reliability diagram.
        verdicts: Number of images by verdict.
        mistakes: The misclassified images of highest confidence, at most 20.
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
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[Count, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    verdicts: dict[Literal["known", "unsure", "none"], Count]
    mistakes: tuple[Misclassification, ...] = ()


class EpochMetrics(Record):
    """Training and validation metrics of one epoch, without test-time augmentation.

    Losses are the recipe's training objective, label smoothing included, in nats; accuracies are
    0 to 1.
    """

    epoch: int
    loss: float
    accuracy: Share
    validation_loss: float
    validation_accuracy: Share


class BaselineMetrics(Record):
    """Baseline metrics: those of the student report's model of the same name."""

    accuracy: Share
    precision: Share
    recall: Share
    f1: Share


class ProportionEstimate(Record):
    """A proportion of n photos, 0 to 1, with its 95% confidence interval (Wilson 1927)."""

    n: Annotated[int, Field(ge=1)]
    share: Share
    low: Share
    high: Share

    @classmethod
    def of(cls, hits: int, n: int) -> ProportionEstimate:
        """Estimate a proportion from `hits` of `n` photos; n at least 1."""
        share, z_squared = hits / n, _Z**2
        center = (share + z_squared / (2 * n)) / (1 + z_squared / n)
        half_width = (
            _Z / (1 + z_squared / n) * sqrt(share * (1 - share) / n + z_squared / (4 * n**2))
        )
        # Rounding may put a bound just outside 0 to 1.
        return cls(
            n=n, share=share, low=max(center - half_width, 0.0), high=min(center + half_width, 1.0)
        )


class PhotoMetrics(Record):
    """Evaluation results on a folder of photos.

    Estimates are null where no photo contributes.

    Attributes:
        n: Number of photos.
        accuracy: Accuracy on photos of a known class, whatever the verdict.
        recall: Recall of each class that has photos.
        known_and_right: Share of photos of a known class with the verdict `known` and the correct
            label.
        known_told_none: Share of photos of a known class with the verdict `none`.
        told_none: Share of photos of no known class with the verdict `none`.
        taken_for_known: Share of photos of no known class with the verdict `known`.
        confidence: Mean confidence on photos of a known class.
        ece: Expected calibration error on them, 15 equal-width bins; imprecise for few photos.
    """

    n: Count
    accuracy: ProportionEstimate | None
    recall: dict[str, ProportionEstimate]
    known_and_right: ProportionEstimate | None = None
    known_told_none: ProportionEstimate | None = None
    told_none: ProportionEstimate | None
    taken_for_known: ProportionEstimate | None
    confidence: Share | None = None
    ece: Share | None = None


class PhotoMisclassification(Record):
    """A misclassified real photo of a known class, or one whose label is wrong.

    Attributes:
        source: Name of the repository that it comes from.
        path: Its path inside the source.
        label: Its label in the source.
        answer: Predicted label.
        confidence: Probability of the predicted label; null for a model without calibration.
    """

    source: str
    path: str
    label: str
    answer: str
    confidence: Share | None


class SourceMetrics(Record):
    """Evaluation results on the photos of one source.

    Attributes:
        source: Name of the repository that the photos come from.
        accuracy: Accuracy on photos of a known class; null where there are none.
        n_none: Number of photos that show none of the labels.
        auroc: Area under the ROC curve of known_score, the former against the latter; null where
            either is missing.
    """

    source: str
    accuracy: ProportionEstimate | None
    n_none: Count
    auroc: Share | None


class RealPhotoMetrics(Record):
    """Evaluation results on real photos of known sources.

    Attributes:
        data: The photos in words.
        accuracy: Accuracy on photos of a known class, whatever the verdict.
        recall: Recall of each class that has photos.
        auroc: Area under the ROC curve of known_score, photos of a known class against photos of
            none; null where there are none of the latter.
        n_none: Number of photos that show none of the labels.
        rejected: True negative rate at 95% true positive rate: share of photos of none that are
            rejected where 95% of the photos of a known class are accepted.
        auroc_kept_back, n_kept_back, rejected_kept_back: The same for photos of kinds that were
            held out of training and model selection.
        rejected_kinds, rejected_kept_back_kinds: The same rates by kind of photo, for kinds with at
            least five photos.
        confidence: Mean confidence on photos of a known class; null for a model without
            calibration.
        ece: Expected calibration error on them, 15 equal-width bins.
        ece_cross_fitted: The same by 5-fold cross-validation of the calibration, fitted on the
            photos and held-out rows; null for photos that took no part in model selection.
        ece_if_true: Central 90% interval of the ECE of a perfectly calibrated model with these
            confidences.
        sources: Results by source.
        mistakes: Misclassified photos of a known class, highest confidence first.
    """

    data: str
    accuracy: ProportionEstimate
    recall: dict[str, ProportionEstimate]
    auroc: Share | None
    n_none: Count
    rejected: ProportionEstimate | None
    auroc_kept_back: Share | None
    n_kept_back: Count
    rejected_kept_back: ProportionEstimate | None
    rejected_kinds: dict[str, ProportionEstimate]
    rejected_kept_back_kinds: dict[str, ProportionEstimate]
    confidence: Share | None = None
    ece: Share | None = None
    ece_cross_fitted: Share | None = None
    ece_if_true: tuple[Share, Share] | None = None
    sources: tuple[SourceMetrics, ...]
    mistakes: tuple[PhotoMisclassification, ...] = ()


class ConfidenceMetrics(Record):
    """Accuracy, mean confidence and calibration error on images of known classes.

    Attributes:
        data: The images in words.
        n: Number of images.
        confidence: Mean confidence.
        ece: Expected calibration error, 15 equal-width bins.
    """

    data: str
    n: Annotated[int, Field(ge=1)]
    accuracy: Share
    confidence: Share
    ece: Share


class ResizeMetrics(Record):
    """Accuracy by resize rule on images that are not square."""

    data: str
    n: Annotated[int, Field(ge=1)]
    accuracy: dict[ResizeRule, Share]


class OodMetrics(Record):
    """Out-of-distribution metrics: how well known_score separates known classes from others.

    Attributes:
        known, none: In-distribution and out-of-distribution images, in words; there are n_known and
            n_none of them.
        auroc: Area under the ROC curve by method, in-distribution images as positives.
        fpr95: False positive rate at 95% true positive rate (FPR@95) by method.
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


class OutlierMetrics(Record):
    """Out-of-distribution metrics on several sets of images.

    Attributes:
        chosen_by: The comparisons whose mean AUROC selects the method.
        reported: Comparisons with images that took no part in the selection.
        photos: Comparison on the photos of the data folder; null where there are none.
    """

    chosen_by: tuple[OodMetrics, ...]
    reported: tuple[OodMetrics, ...]
    photos: OodMetrics | None = None


class CorruptionMetrics(Record):
    """Accuracy and ECE under one common corruption, at severities 1 to 5."""

    accuracy: tuple[Share, Share, Share, Share, Share]
    ece: tuple[Share, Share, Share, Share, Share]


class PointingMetrics(Record):
    """Result of the grid pointing game: how well saliency maps localise the predicted class.

    Attributes:
        data: The photos in words.
        n: Number of 2×2 grids.
        mean: Mean fraction of the positive evidence that lies in the cell of the predicted class;
            .25 for a map that is the same everywhere.
        low, high: 95% confidence interval of the mean.
        input_gradient: The same mean for the magnitude of the gradient of the logit with respect to
            the image; null where it was not measured.
    """

    data: str
    n: Annotated[int, Field(ge=2)]
    mean: Share
    low: Share
    high: Share
    input_gradient: Share | None = None


class TaughtMetrics(Record):
    """Photos of a taught model and its metrics by cross-validation.

    Attributes:
        photos: Number of photos of each class, in the order of the labels.
        views: Number of views of each photo.
        accuracy: Share of the photos that a head learned without them classifies correctly.
        none: Share of the photos to which such a head gives the verdict `none`.
        doubtful: Number of photos that are probably in the wrong class.
        weak: Labels of the classes that need more photos.
    """

    photos: tuple[Count, ...]
    views: Annotated[int, Field(ge=1)]
    accuracy: ProportionEstimate
    none: ProportionEstimate
    doubtful: Count
    weak: tuple[str, ...]


class Provenance(Record):
    """Provenance of the metrics: command, hardware, code commit, date and package versions."""

    command: str
    hardware: str
    commit: str
    date: str
    versions: Annotated[dict[_Version, _Version], Field(max_length=_MAX_VERSIONS)]


class Metrics(Record):
    """Content of metrics.json, measured on the stored weights.

    Optional results are null where they were not measured.

    Attributes:
        schema_version: Version of this schema.
        test: Results on the test split, with all views; of a taught model, by cross-validation on
            the photos that it was taught with.
        single_view: Accuracy on the test split without test-time augmentation.
        float32: Accuracy on the test split, all views, before the weights were quantised.
        validation: Results on the validation rows, with all views.
        resize: Accuracy by resize rule, from which the rule was selected.
        sharp: Results on images of the known classes that are sharper than the training images: the
            ones that selected the resize rule, uncropped.
        photos: Results on the photos of the data folder.
        outliers: Out-of-distribution metrics.
        real_photos: Results on the validation part of the real photos, which together with held-out
            rows selected calibration, resize rule and verdict, and the interpolation of weights
            that were trained on photos.
        unseen_sources: Results on all photos of the sources that the recipe holds out.
        real_photos_frozen, unseen_sources_frozen: The same photos before fine-tuning: logistic
            regression on the frozen pretrained features.
        pointing: Result of the grid pointing game on the validation part of the real photos.
        shift: Results on the first `shift_n` test images under common corruptions, by the name of
            the corruption.
        curves: Metrics of each epoch; empty for a model that was trained elsewhere.
        best_epoch: Epoch of the stored weights, selected on the validation rows; null for a model
            that was trained elsewhere.
        parameters: Number of parameters, statistics of batch normalisation included.
        bytes: Size of model.tflite, or of head.npz for a taught model.
        milliseconds: Median latency of one photo at batch size 1, all views, without decoding; on
            the hardware of `origin`.
        training_seconds: Duration of training in seconds.
        reported: Baseline metrics of the student report; null where it has no such model.
        taught: Results of a taught model; null for others.
        origin: Provenance of these metrics.
    """

    schema_version: Literal[1] = 1
    test: SplitMetrics
    single_view: Share | None = None
    float32: Share | None = None
    validation: SplitMetrics
    resize: ResizeMetrics | None = None
    sharp: ConfidenceMetrics | None = None
    photos: PhotoMetrics | None = None
    outliers: OutlierMetrics | None = None
    real_photos: RealPhotoMetrics | None = None
    unseen_sources: RealPhotoMetrics | None = None
    real_photos_frozen: RealPhotoMetrics | None = None
    unseen_sources_frozen: RealPhotoMetrics | None = None
    pointing: PointingMetrics | None = None
    shift: dict[str, CorruptionMetrics] | None = None
    shift_n: Count = 0
    curves: tuple[EpochMetrics, ...]
    best_epoch: int | None = None
    parameters: Count
    bytes: Count
    milliseconds: Annotated[float, Field(gt=0)]
    training_seconds: Annotated[float, Field(ge=0)]
    reported: BaselineMetrics | None
    taught: TaughtMetrics | None = None
    origin: Provenance

    @model_serializer(mode="wrap")
    def _omit_absent_results(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Versions without taught models reject this field.
        fields: dict[str, Any] = serialise(self)
        if fields.get("taught") is None:
            fields.pop("taught", None)
        return fields

    @property
    def lost(self) -> float | None:
        """Accuracy lost to quantisation: `float32` minus test accuracy; negative for a gain."""
        return None if self.float32 is None else self.float32 - self.test.accuracy

    @property
    def test_accuracy(self) -> ProportionEstimate:
        """Accuracy on the test split with its 95% confidence interval."""
        return ProportionEstimate.of(round(self.test.accuracy * self.test.n), self.test.n)

    @property
    def valid_photo_accuracy(self) -> ProportionEstimate | None:
        """Accuracy on the validation part of the real photos; None where it was not measured."""
        return None if self.real_photos is None else self.real_photos.accuracy

    @property
    def test_photo_accuracy(self) -> ProportionEstimate | None:
        """Accuracy on the photos of the data folder; None where it was not measured."""
        return None if self.photos is None else self.photos.accuracy

    @property
    def photo_accuracy(self) -> tuple[ProportionEstimate, str] | None:
        """Accuracy on photos of known classes, and a description of the photos.

        Measured on the validation part of the real photos, since its interval is narrow; these
        photos come from the sources of the training photos and took part in model selection.
        Otherwise on the test photos of the data folder. None if neither was measured.
        """
        if self.real_photos is not None:
            return self.real_photos.accuracy, self.real_photos.data
        if self.photos is not None and self.photos.accuracy is not None:
            return self.photos.accuracy, "photos/"
        return None
