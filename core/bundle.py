"""A model folder: config.json beside the weights; checked when read, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core._version import __version__
from core.errors import BundleError
from core.photos.preprocess import InputSpec, ResizeRule

__all__ = [
    "Bundle",
    "Calibration",
    "Certainty",
    "ClassFigures",
    "Config",
    "Curve",
    "Estimate",
    "Family",
    "Made",
    "Metrics",
    "Mistake",
    "Origin",
    "OutlierFigures",
    "PhotoFigures",
    "Precision",
    "Pretrained",
    "Reported",
    "ResizeFigures",
    "Separation",
    "ShiftFigures",
    "SplitFigures",
    "Training",
    "Verdict",
    "VerdictMethod",
    "View",
    "find_bundles",
    "first_problem",
    "write_bundle",
]

CONFIG = "config.json"
MODEL = "model.tflite"
METRICS = "metrics.json"
VERDICT = "verdict.npz"
CARD = "README.md"
FORMAT_SINCE = "0.1.0"
"""The first TenSight that reads folders as this one writes them."""

Family = Literal["scratch", "transfer", "finetuned"]
VerdictMethod = Literal["max_softmax", "energy", "gen", "knn", "fdbd"]
Precision = Literal["float32", "float16", "int8"]
View = Literal["identity", "mirror", "up_left", "down_right", "mirror_up_left", "mirror_down_right"]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
# Whoever wrote it, it is shown on terminals and pages.
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
Line = Annotated[str, Field(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Made(_Record):
    """How long, on what and when epochs were made.

    Attributes:
        hardware, date, commit: Several, where the run was resumed elsewhere.
    """

    epochs: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    hardware: str
    date: str
    commit: str


class Verdict(_Record):
    """How scores become a verdict.

    Attributes:
        method: What known_score is, see `core.verdict`; some methods need verdict.npz.
        none_below: Under this known_score the photo shows none of the labels.
        unsure_below: Under this confidence the answer is not sure.
    """

    method: VerdictMethod
    none_below: float
    unsure_below: Share


class Pretrained(_Record):
    """Weights that a model began with.

    Attributes:
        network: Whose they are.
        source: What they were learned from, or where they were had.
        datasets: Names on the Hub of what they were learned from.
        license: The Hub's name for their licence.
        sha256: Of their file.
        accuracy: Share of Tiny ImageNet's valid images (`n` of them) that get their label, one of
            those that it learned; null where they were not learned here.
        made: How long, on what and when they were learned; null likewise.
    """

    network: str
    source: str
    datasets: tuple[str, ...] = ()
    license: str
    sha256: Digest
    accuracy: Share | None = None
    n: Count = 0
    made: Made | None = None


class Training(_Record):
    """Where the weights come from.

    Attributes:
        datasets: Names on the Hub of what was learned from.
        license: The Hub's name for the licence of the weights.
        pretrained: The weights that it began with, where `tensight train vgg16` left them.
        notes: What a reader of the figures should know.
        seed, epochs: Null for a model that was trained elsewhere and exported here.
        hardware, date, commit: Of the run's epochs, several where it was resumed elsewhere; or of
            the export.
    """

    recipe: str
    data: str
    datasets: tuple[str, ...] = ()
    license: str = "mit"
    pretrained: Pretrained | None = None
    notes: str = ""
    seed: int | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    hardware: str
    date: str
    commit: str


class Config(_Record):
    """config.json: everything that serving needs beside the weights.

    Attributes:
        labels: Name of each output, 2 to 1,000 of them.
        input: What the model takes and how a photo is brought there.
        views: Versions of the photo whose logits are averaged: as it is, mirrored, or moved by one
            pixel up and left or down and right, where the border is reflected.
        precision: Number format of the stored weights.
        temperature, exponent: How logits become probabilities, see `core.verdict.probabilities`.
        beta: How the largest of them becomes the confidence, see `core.verdict.calibrated`.
        offered: Whether page and bot offer it in their switch; else it answers who names it.
        sha256: Digest, 64 hex digits, of every other file of the folder.
        minimum_version: Oldest TenSight that can serve this model.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    title: Line
    description: Annotated[str, Field(max_length=1000, pattern=_NO_CONTROLS)]
    family: Family
    labels: Annotated[tuple[Line, ...], Field(min_length=2, max_length=1000)]
    input: InputSpec
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    precision: Precision
    temperature: Annotated[float, Field(gt=0)]
    exponent: Annotated[float, Field(gt=0, le=4)] = 1.0
    beta: tuple[NotNegative, NotNegative, float] = (1.0, 1.0, 0.0)
    offered: bool = True
    verdict: Verdict
    sha256: dict[str, Digest]
    training: Training
    minimum_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ValueError("labels must differ and must not be empty")
        if "none" in labels:
            raise ValueError("no label can be called 'none': that is what photos of none show")
        return labels

    @field_validator("sha256")
    @classmethod
    def _plain_names(cls, sha256: dict[str, str]) -> dict[str, str]:
        for name in sha256:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == CONFIG:
                raise ValueError(f"{name!r} cannot be the name of a file beside config.json")
        if MODEL not in sha256:
            raise ValueError(f"{MODEL} has no digest")
        return sha256


class Mistake(_Record):
    """An answer that was wrong; `row` counts in the official order of the data set's part."""

    row: Count
    label: str
    answer: str
    confidence: Share


class ClassFigures(_Record):
    """Figures of one class; `support` is its number of rows."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


class Calibration(_Record):
    """One bin of the reliability diagram: confidences in (low, high]; means are null when empty."""

    low: Share
    high: Share
    n: Count
    confidence: Share | None
    accuracy: Share | None


class SplitFigures(_Record):
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


class Curve(_Record):
    """One epoch of training, one view each.

    Losses are what the recipe makes small, label smoothing included, in nats; accuracies are shares
    of 1.
    """

    epoch: int
    loss: float
    accuracy: Share
    validation_loss: float
    validation_accuracy: Share


class Reported(_Record):
    """The student report's figures for its model of this name."""

    accuracy: Share
    precision: Share
    recall: Share
    f1: Share


class Estimate(_Record):
    """A share of n photos, 0 to 1, with its 95% interval (Wilson 1927)."""

    n: Annotated[int, Field(ge=1)]
    share: Share
    low: Share
    high: Share


class PhotoFigures(_Record):
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


class Certainty(_Record):
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


class ResizeFigures(_Record):
    """How right a model is on photos that are no squares, by the rule that brings them to size."""

    data: str
    n: Annotated[int, Field(ge=1)]
    accuracy: dict[ResizeRule, Share]


class Separation(_Record):
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


class OutlierFigures(_Record):
    """Images of none of the labels.

    Attributes:
        chosen_by: What the method was chosen by: the largest mean of the areas.
        reported: On other images, of other things.
        photos: On the photos of the data folder; null where there are none.
    """

    chosen_by: tuple[Separation, ...]
    reported: tuple[Separation, ...]
    photos: Separation | None = None


class ShiftFigures(_Record):
    """Figures on images that were spoiled in one way, at strengths 1 to 5."""

    accuracy: tuple[Share, Share, Share, Share, Share]
    ece: tuple[Share, Share, Share, Share, Share]


class Origin(_Record):
    """How the figures came to be."""

    command: str
    hardware: str
    commit: str
    date: str
    versions: dict[str, str]


class Metrics(_Record):
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


@dataclass(frozen=True)
class Bundle:
    """A model folder that was opened; config.json is valid, other files are checked when read.

    Attributes:
        folder: Where it lies.
        config: Its config.json.
        revision: Which one this is: the first 12 hex digits of config.json's SHA-256, which in turn
            covers all other files.
    """

    folder: Path
    config: Config
    revision: str

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read config.json.

        Raises:
            BundleError: It is missing or wrong, or asks for a newer TenSight.
        """
        try:
            text = (folder / CONFIG).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{folder} is no model folder: {CONFIG} cannot be read ({error.strerror})."
            ) from error
        try:
            config = Config.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{folder / CONFIG} is wrong: {first_problem(error)}") from error
        if config.name != folder.name:
            raise BundleError(
                f"The model in {folder} calls itself {config.name!r}; folder and name must agree."
            )
        if _numbers(config.minimum_version) > _numbers(__version__):
            raise BundleError(
                f"The model in {folder} needs TenSight {config.minimum_version} or newer; this is "
                f"{__version__}. Update TenSight."
            )
        return cls(folder, config, hashlib.sha256(text).hexdigest()[:12])

    def read(self, name: str) -> bytes:
        """Bytes of one file, after its digest matched.

        Raises:
            BundleError: The file is missing, has no digest in config.json, or was changed.
        """
        digest = self.config.sha256.get(name)
        if digest is None:
            raise BundleError(f"{self.folder / CONFIG} gives no digest of {name}.")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.folder / name} cannot be read ({error.strerror}). Fetch the model again."
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(
                f"{self.folder / name} is not the file that config.json describes: its SHA-256 "
                "differs. Fetch the model again."
            )
        return content

    def metrics(self) -> Metrics:
        """The figures of metrics.json.

        Raises:
            BundleError: The file is missing, changed or wrong.
        """
        try:
            return Metrics.model_validate_json(self.read(METRICS))
        except ValidationError as error:
            raise BundleError(
                f"{self.folder / METRICS} is wrong: {first_problem(error)}"
            ) from error

    def verify(self) -> None:
        """Check every file.

        Raises:
            BundleError: A file is missing, changed, or not named in config.json.
        """
        for name in self.config.sha256:
            self.read(name)
        found = {file.name for file in self.folder.iterdir()}
        if unknown := sorted(found - set(self.config.sha256) - {CONFIG}):
            raise BundleError(
                f"{self.folder} holds files that config.json does not name: {', '.join(unknown)}."
            )


def find_bundles(folder: Path) -> list[Path]:
    """Model folders below a folder, by name; none where the folder is not there."""
    return sorted(config.parent for config in folder.glob(f"[!.]*/{CONFIG}"))


def write_bundle(folder: Path, config: Config, files: dict[str, bytes]) -> Bundle:
    """Write a model folder, replacing the one of that name as a whole.

    Args:
        folder: Where to; its name must be that of the model.
        config: Its config.json; the digests in it are made anew from `files`.
        files: Content of every other file by name.

    Raises:
        BundleError: What was written does not verify; the old folder is still in place.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    try:
        config = Config.model_validate(config.model_dump() | {"sha256": digests})
    except ValidationError as error:
        raise BundleError(f"{folder} cannot be written: {first_problem(error)}") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        text = json.dumps(
            config.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False
        )
        (new / CONFIG).write_text(text + "\n", "utf-8")
        Bundle.open(new).verify()
        # Outside the scratch folder: whatever happens between the two renames, it is not wiped.
        old = folder.with_name(f".old-{folder.name}")
        if old.exists() and not folder.exists():
            old.rename(folder)  # an earlier write was killed there
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    return Bundle.open(folder)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        raise BundleError(f"{version!r} is no version; it begins with three numbers, as 1.2.3.")
    return tuple(map(int, numbers.groups()))


def first_problem(error: ValidationError) -> str:
    """Where the first thing is that is wrong, and what."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{place}: {problem['msg']}."
