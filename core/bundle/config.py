"""config.json: what a model expects, how its outputs are read and how it was trained."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.photos.preprocess import InputSpec

__all__ = [
    "CONFIG",
    "METRICS",
    "Config",
    "Count",
    "Family",
    "Made",
    "Precision",
    "Pretrained",
    "Record",
    "Share",
    "Training",
    "Verdict",
    "VerdictMethod",
    "View",
    "first_problem",
]

CONFIG = "config.json"
MODEL = "model.tflite"
METRICS = "metrics.json"
VERDICT = "verdict.npz"
CARD = "README.md"
FORMAT_SINCE = "0.1.0"
"""The first TenSight that reads folders as this one writes them."""

Family = Literal["scratch", "transfer", "finetuned"]
VerdictMethod = Literal["max_softmax", "energy", "gen", "knn", "fdbd", "probe"]
Precision = Literal["float32", "float16", "int8"]
View = Literal["identity", "mirror", "up_left", "down_right", "mirror_up_left", "mirror_down_right"]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
# Whoever wrote it, it is shown on terminals and pages.
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
Line = Annotated[str, Field(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen JSON record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Made(Record):
    """How long, on what and when epochs were made.

    Attributes:
        hardware, date, commit: Several, where the run was resumed elsewhere.
    """

    epochs: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    hardware: str
    date: str
    commit: str


class Verdict(Record):
    """How scores become a verdict.

    Attributes:
        method: How known_score is computed, see `core.inference.known_score`; some methods need
            verdict.npz.
        none_below: Under this known_score the photo shows none of the labels.
        unsure_below: Under this confidence the answer is not sure.
    """

    method: VerdictMethod
    none_below: float
    unsure_below: Share


class Pretrained(Record):
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


class Training(Record):
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


class Config(Record):
    """config.json: everything that serving needs beside the weights.

    Attributes:
        labels: Name of each output, 2 to 1,000 of them.
        input: What the model takes and how a photo is brought there.
        views: Versions of the photo whose logits are averaged: as it is, mirrored, or moved by one
            pixel up and left or down and right, where the border is reflected.
        precision: Number format of the stored weights.
        temperature, exponent: How logits become probabilities, see `core.inference.calibration`.
        beta: How the largest of them becomes the confidence, see `core.inference.calibration`.
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


def first_problem(error: ValidationError) -> str:
    """Where the first thing is that is wrong, and what."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{place}: {problem['msg']}."
