"""Response schemas of the HTTP service, for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.photos.formats.kind import ACCEPTED

__all__ = [
    "BODY",
    "METRICS_EXAMPLE",
    "AnswerOut",
    "ComparisonOut",
    "FailureOut",
    "HealthOut",
    "ModelOut",
    "ModelsOut",
    "PredictionOut",
    "PredictionsOut",
]


class SaliencyOut(BaseModel):
    """What in the photo spoke for the answer, 0 to 1, as the model saw it.

    Attributes:
        shape: Height and width.
        dtype: Of the numbers: always `<f4`, float32 with the lowest byte first.
        data: Their bytes, row by row, in base64.
    """

    shape: tuple[int, int]
    dtype: str
    data: str


class TimingOut(BaseModel):
    """Milliseconds; `infer` is the photo's share where several were answered at once."""

    decode: float
    infer: float


_PREDICTION = {
    "photo": None,
    "model": "mobilenet",
    "revision": "0123456789ab",
    "label": "cat",
    "confidence": 0.97,
    "verdict": "known",
    "known_score": 9.1,
    "scores": {"cat": 0.97, "dog": 0.02},
    "timing_ms": {"decode": 5.2, "infer": 3.1},
    "saliency": None,
}
_FAILURE = {
    "photo": None,
    "error": {"code": "busy", "message": "Busy: all places are taken. Try again in 1 s."},
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class AnswerOut(BaseModel):
    """The answer to one photo; scores are calibrated probabilities, the largest first."""

    photo: str | None
    model: str
    revision: str
    label: str
    confidence: float
    verdict: str
    known_score: float
    scores: dict[str, float]
    timing_ms: TimingOut


class PredictionOut(AnswerOut):
    """The answer to one photo; scores are calibrated probabilities, the largest first."""

    model_config = _example(_PREDICTION)

    saliency: SaliencyOut | None = None


class ErrorOut(BaseModel):
    """Why there is no answer: a code for programs, a sentence for people."""

    code: str
    message: str


class FailureOut(BaseModel):
    """No answer."""

    model_config = _example(_FAILURE)

    photo: str | None = None
    error: ErrorOut


class PredictionsOut(BaseModel):
    """Answers to several photos, in their order; a bad one fails alone."""

    model_config = _example(
        {"predictions": [_PREDICTION | {"photo": "one.jpg"}, _FAILURE | {"photo": "two.jpg"}]}
    )

    predictions: list[PredictionOut | FailureOut]


class AgreementOut(BaseModel):
    """What most models answer: a label or `none`, how many models do, and of how many."""

    answer: str
    models: int
    of: int


class ComparisonOut(BaseModel):
    """The answer of every model to one photo, by the model's name."""

    agreement: AgreementOut
    answers: dict[str, AnswerOut | FailureOut]


class ModelsOut(BaseModel):
    """The models that can be asked for, with their figures."""

    model_config = _example(
        {
            "default": "mobilenet",
            "models": [{"name": "mobilenet", "revision": "0123456789ab"}],
        }
    )

    default: str
    models: list[dict[str, Any]]


class ModelOut(BaseModel):
    """One model, whole."""

    model_config = _example(
        {
            "revision": "0123456789ab",
            "config": {"name": "mobilenet", "labels": ["cat", "dog"]},
            "metrics": {"test": {"n": 10_000, "accuracy": 0.95}},
        }
    )

    revision: str
    config: dict[str, Any]
    metrics: dict[str, Any]


class HealthOut(BaseModel):
    """How the service is."""

    model_config = _example({"status": "ok"})

    status: str


METRICS_EXAMPLE = 'tensight_photos_total{model="mobilenet",verdict="known"} 12.0'
_IMAGE_TYPES = ("jpeg", "png", "webp", "gif", "bmp", "avif", "heic")

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"{ACCEPTED}, at most 20 MB; whatever type is named, the content decides.",
        "content": {
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in _IMAGE_TYPES
            },
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
