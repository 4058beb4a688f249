"""Response schemas of the HTTP service, for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.photos.formats.kind import ACCEPTED

__all__ = [
    "BODY",
    "METRICS_EXAMPLE",
    "PHOTO_BODY",
    "AnswerOut",
    "ComparisonOut",
    "EmbeddingOut",
    "FailureOut",
    "HealthOut",
    "ModelOut",
    "ModelsOut",
    "PredictionOut",
    "PredictionsOut",
]


class SaliencyOut(BaseModel):
    """Saliency map: evidence for the predicted label at each pixel of the model's input, 0 to 1.

    Attributes:
        shape: Height and width.
        dtype: NumPy type string of the values, always `<f4` (little-endian float32).
        data: The values in row-major order, base64-encoded.
    """

    shape: tuple[int, int]
    dtype: str
    data: str


class ArrayOut(BaseModel):
    """Array of numbers.

    Attributes:
        shape: Its shape.
        dtype: NumPy type string of the values, always `<f4` (little-endian float32).
        data: The values in row-major order, base64-encoded.
    """

    shape: tuple[int, ...]
    dtype: str
    data: str


class TimingOut(BaseModel):
    """Durations in milliseconds; `infer` is the photo's share of its batch."""

    decode: float
    infer: float


_PREDICTION = {
    "photo": None,
    "model": "efficientnet",
    "revision": "0123456789ab",
    "label": "cat",
    "confidence": 0.97,
    "verdict": "known",
    "known_score": 9.1,
    "scores": {"cat": 0.97, "dog": 0.02},
    "timing_ms": {"decode": 5.2, "infer": 3.1},
    "saliency": None,
}
_EMBEDDING = {
    "model": "efficientnet",
    "revision": "0123456789ab",
    "embedding": {"shape": [2], "dtype": "<f4", "data": "AACAPwAAAEA="},
    "features": None,
    "timing_ms": {"decode": 5.2, "infer": 3.1},
}
_FAILURE = {
    "photo": None,
    "error": {
        "code": "busy",
        "message": "The service is busy: its queue is full. Try again in 1 s.",
    },
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class AnswerOut(BaseModel):
    """Prediction for a photo. Scores are calibrated probabilities, the highest first."""

    photo: str | None
    model: str
    revision: str
    label: str
    confidence: float
    verdict: str
    known_score: float
    scores: dict[str, float]
    timing_ms: TimingOut


class EmbeddingOut(BaseModel):
    """Embedding of a photo, and the feature maps behind it where they are requested."""

    model_config = _example(_EMBEDDING)

    model: str
    revision: str
    embedding: ArrayOut
    features: ArrayOut | None
    timing_ms: TimingOut


class PredictionOut(AnswerOut):
    """Prediction for a photo. Scores are calibrated probabilities, the highest first."""

    model_config = _example(_PREDICTION)

    saliency: SaliencyOut | None = None


class ErrorOut(BaseModel):
    """An error: a stable code for programs and a message for people."""

    code: str
    message: str


class FailureOut(BaseModel):
    """Error response."""

    model_config = _example(_FAILURE)

    photo: str | None = None
    error: ErrorOut


class PredictionsOut(BaseModel):
    """Predictions or errors of the photos of a form, in order."""

    model_config = _example(
        {"predictions": [_PREDICTION | {"photo": "one.jpg"}, _FAILURE | {"photo": "two.jpg"}]}
    )

    predictions: list[PredictionOut | FailureOut]


class AgreementOut(BaseModel):
    """The majority answer, a label or `none`; the models that gave it; and all that answered."""

    answer: str
    models: int
    of: int


class ComparisonOut(BaseModel):
    """The predictions of all models for a photo, by the name of the model."""

    agreement: AgreementOut
    answers: dict[str, AnswerOut | FailureOut]


class ModelsOut(BaseModel):
    """The available models with their metrics, and the name of the default one."""

    model_config = _example(
        {
            "default": "efficientnet",
            "models": [{"name": "efficientnet", "revision": "0123456789ab"}],
        }
    )

    default: str
    models: list[dict[str, Any]]


class ModelOut(BaseModel):
    """Revision, configuration and metrics of a model."""

    model_config = _example(
        {
            "revision": "0123456789ab",
            "config": {"name": "efficientnet", "labels": ["cat", "dog"]},
            "metrics": {"test": {"n": 10_000, "accuracy": 0.95}},
        }
    )

    revision: str
    config: dict[str, Any]
    metrics: dict[str, Any]


class HealthOut(BaseModel):
    """State of the service."""

    model_config = _example({"status": "ok"})

    status: str


METRICS_EXAMPLE = 'tensight_photos_total{model="efficientnet",verdict="known"} 12.0'
_IMAGE_TYPES = ("jpeg", "png", "webp", "gif", "bmp", "avif", "heic")

_PHOTO: dict[str, Any] = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in _IMAGE_TYPES
}
_PHOTO_FORMATS = (
    f"{ACCEPTED}, at most 20 MB. The format is detected from the content, whatever the content "
    "type."
)

PHOTO_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "description": _PHOTO_FORMATS, "content": _PHOTO}
}
"""OpenAPI description of a request body with one photo."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": _PHOTO_FORMATS,
        "content": {
            **_PHOTO,
            "multipart/form-data": {
                "example": {"photo": ["one.jpg", "two.png"]},
                "schema": {
                    "type": "object",
                    "properties": {
                        "photo": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                },
            },
        },
    }
}
