"""Schema of config.json: inputs, labels, calibration and training record of a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from core.errors import BundleError
from core.output import replacing
from core.photos.preprocess import InputSpec
from core.text import has_hidden, printable, strings_in

__all__ = [
    "CONFIG",
    "HEAD",
    "METRICS",
    "SPACE",
    "Base",
    "Config",
    "Count",
    "Family",
    "PhotoSource",
    "Precision",
    "Pretrained",
    "Record",
    "Share",
    "Training",
    "TrainingRun",
    "VerdictConfig",
    "VerdictMethod",
    "View",
    "first_problem",
    "read_record",
    "write_record",
]

CONFIG = "config.json"
MODEL = "model.tflite"
METRICS = "metrics.json"
VERDICT = "verdict.npz"
HEAD = "head.npz"
"""Head of a taught model, which has no model.tflite of its own."""
SPACE = "space.npz"
"""Parameters of the embedding space of a model that others can be taught on."""
CARD = "README.md"
FORMAT_SINCE = "0.1.0"
"""The oldest TenSight version that can read bundles written by this one."""

Family = Literal["scratch", "transfer", "finetuned", "taught"]
VerdictMethod = Literal["max_softmax", "energy", "gen", "knn", "fdbd", "probe", "center"]
Precision = Literal["float32", "float16", "int8"]
View = Literal["identity", "mirror", "up_left", "down_right", "mirror_up_left", "mirror_down_right"]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Line = Annotated[str, Field(min_length=1, max_length=100)]
_MAX_CHARACTERS = 2_000
_MAX_FILES = 100
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]

RecordType = TypeVar("RecordType", bound="Record")


class Record(BaseModel):
    """Base class of all JSON records: frozen, and without unknown fields."""

    # Validators are built on first use: those of nested records are not needed on their own.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @field_validator("*", mode="after")
    @classmethod
    def _check_printable(cls, value: Any) -> Any:
        # A bundle may come from a stranger; its texts appear on terminals, pages and in chats.
        for text in strings_in(value):
            if has_hidden(text):
                raise ValueError(
                    f"{printable(text, 60)!r} contains a character that cannot be seen, or that "
                    "changes how others are displayed"
                )
            if len(text) > _MAX_CHARACTERS:
                raise ValueError(f"a text has more than {_MAX_CHARACTERS:,} characters")
        return value


def read_record(file: Path, record_type: type[RecordType]) -> RecordType | None:
    """Read a JSON record; None where the file does not exist.

    Args:
        file: Path of the JSON file.
        record_type: Type of the record.

    Raises:
        BundleError: The file cannot be read or is invalid.
    """
    if not file.is_file():
        return None
    try:
        return record_type.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise BundleError(
            f"{file} is invalid: {reason} Restore it with git, or delete it and run the training "
            "or ablation that writes it again."
        ) from error


def write_record(file: Path, record: Record) -> None:
    """Write a JSON record atomically: to a temporary file, which then replaces the target."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as new:
        new.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")


class TrainingRun(Record):
    """Duration, hardware, date and code of a training run.

    Attributes:
        epochs: Number of epochs.
        seconds: Duration in seconds.
        hardware, date, commit: Comma-separated where the run was resumed on another machine, on
            another day or with other code.
    """

    epochs: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    hardware: str
    date: str
    commit: str


class VerdictConfig(Record):
    """Out-of-distribution method and thresholds of the verdict.

    Attributes:
        method: How known_score is computed, see `core.inference.known_score`; some methods read
            their parameters from verdict.npz.
        none_below: Threshold on known_score; below it the verdict is `none`.
        unsure_below: Threshold on the confidence, 0 to 1; below it the verdict is `unsure`.
    """

    method: VerdictMethod
    none_below: float
    unsure_below: Share


class Pretrained(Record):
    """Pretrained weights that training started from.

    Attributes:
        network: Name of the architecture.
        source: What they were pretrained on, or where they were downloaded from.
        datasets: Hub names of the data sets that they were pretrained on.
        license: Licence identifier of the Hub.
        sha256: Digest of the weights file, 64 hex digits.
        accuracy: Top-1 accuracy on the `n` validation images of Tiny ImageNet whose class was
            part of the pretraining; null where the weights were not pretrained by this project.
        n: Number of those images.
        made: The pretraining run; null where it was not done by this project.
    """

    network: str
    source: str
    datasets: tuple[str, ...] = ()
    license: str
    sha256: Digest
    accuracy: Share | None = None
    n: Count = 0
    made: TrainingRun | None = None


class PhotoSource(Record):
    """Source of photos that a model was trained on.

    Attributes:
        name: Name of the repository.
        photos: Number of its photos in the training data.
        license: License that the repository states, in words; null where it is not recorded.
    """

    name: str
    photos: Annotated[int, Field(ge=1)]
    license: str | None = None


class Training(Record):
    """Training record of a model.

    Attributes:
        recipe: Name of the recipe.
        data: Training data in words.
        datasets: Hub names of the training data sets.
        photos: Sources of the real photos in the training data; empty for a model that was trained
            without.
        license: Licence identifier of the Hub for the weights.
        pretrained: The pretrained weights; null for a model trained from random weights.
        notes: What to know when comparing the metrics.
        seed, epochs: Null for a model that was trained elsewhere and only exported here.
        hardware, date, commit: Those of the training run, comma-separated where it was resumed
            under others; or those of the export.
    """

    recipe: str
    data: str
    datasets: tuple[str, ...] = ()
    # Earlier versions reject unknown fields, so it is omitted when empty.
    photos: tuple[PhotoSource, ...] = Field(default=(), exclude_if=lambda photos: not photos)
    license: str = "mit"
    pretrained: Pretrained | None = None
    notes: str = ""
    seed: int | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    hardware: str
    date: str
    commit: str


class Base(Record):
    """Reference to the base, the model whose embeddings a taught model classifies.

    Attributes:
        name: Name of the base.
        sha256: Digest of the base's model.tflite, 64 hex digits.
    """

    name: ModelName
    sha256: Digest


class Config(Record):
    """Content of config.json: everything that serving needs beside the weights.

    Attributes:
        schema_version: Version of this schema: 2 for a taught model, which has a base, else 1.
        name: Name of the model and of its folder: lower-case letters, digits, `_` and `-`.
        title: Name shown to people.
        description: What the model is, in sentences; at most 1,000 characters.
        family: How the model was trained.
        labels: Name of each class in the order of the logits, 2 to 1,000 of them.
        input: Input size, normalisation and resize rule.
        views: Test-time augmentations whose logits are averaged: the image itself, its mirror
            image, or either shifted by one pixel with the border reflected.
        precision: Number format of the stored weights.
        temperature, exponent: Calibration of the logits, see `core.inference.calibration`.
        beta: Calibration of the largest probability, see `core.inference.calibration`.
        offered: Whether the page and the bot list the model for selection. It answers requests
            that name it either way.
        verdict: Out-of-distribution method and thresholds.
        base: The model whose model.tflite computes the embeddings for head.npz; null for a model
            with a model.tflite of its own.
        sha256: Digest, 64 hex digits, of every other file of the folder, by file name.
        training: Training record.
        minimum_version: Oldest TenSight version that can serve this model.
    """

    schema_version: Literal[1, 2] = 1
    name: ModelName
    title: Line
    description: Annotated[str, Field(max_length=1000)]
    family: Family
    labels: Annotated[tuple[Line, ...], Field(min_length=2, max_length=1000)]
    input: InputSpec
    views: Annotated[tuple[View, ...], Field(min_length=1, max_length=len(get_args(View)))]
    precision: Precision
    temperature: Annotated[float, Field(gt=0)]
    exponent: Annotated[float, Field(gt=0, le=4)] = 1.0
    beta: tuple[NotNegative, NotNegative, float] = (1.0, 1.0, 0.0)
    offered: bool = True
    verdict: VerdictConfig
    # Earlier versions reject unknown fields, so it is omitted when absent.
    base: Base | None = Field(default=None, exclude_if=lambda base: base is None)
    sha256: Annotated[dict[str, Digest], Field(max_length=_MAX_FILES)]
    training: Training
    minimum_version: Annotated[str, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$")]

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ValueError("labels must differ from each other and must not be empty")
        if "none" in labels:
            raise ValueError(
                "the label 'none' is reserved for photos that show none of the labels; rename it"
            )
        return labels

    @field_validator("views")
    @classmethod
    def _check_views(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        # Each view costs one inference, so a repeated one must be a mistake.
        if len(set(views)) != len(views):
            raise ValueError("views must differ")
        return views

    @field_validator("sha256")
    @classmethod
    def _check_file_names(cls, sha256: dict[str, str]) -> dict[str, str]:
        for name in sha256:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name == CONFIG:
                raise ValueError(
                    f"{printable(name, 60)!r} cannot be the name of a file beside config.json"
                )
        return sha256

    @model_validator(mode="after")
    def _check_weights(self) -> Config:
        taught = self.base is not None
        weights, others = (HEAD, MODEL) if taught else (MODEL, HEAD)
        if weights not in self.sha256 or (taught and others in self.sha256):
            raise ValueError(f"{weights} has no digest, or {others} has one")
        if (self.schema_version == 2, self.verdict.method == "center") != (taught, taught):
            raise ValueError(
                "schema_version 2 and the verdict's method `center` belong to models with a base"
            )
        return self


def first_problem(error: ValidationError) -> str:
    """Format the first validation error as `field.path: message.`."""
    problem = error.errors()[0]
    location = printable(".".join(str(part) for part in problem["loc"]), 100) or "the file"
    return f"{location}: {problem['msg']}."
