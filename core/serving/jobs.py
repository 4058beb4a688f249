"""Photos on their way through the local predictor."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Base
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.embedding import Embedding
from core.inference.prediction import Prediction
from core.photos.decode import Photo

__all__ = ["Answer", "DecodedJob", "Job"]


@dataclass(eq=False)
class Job:
    """A photo in the queue.

    Attributes:
        photo: The photo; None once it is decoded or abandoned, since a job may outlive it.
        model: Name of the model; None for the default model.
        saliency: Whether to compute the saliency map.
        client: Key of the client that sent it; None for a trusted caller.
        preview: Length of the longer side of the preview in pixels; None for no preview.
        base: The model to compute an embedding with; None for a prediction by `model`. Feature maps
            are computed where `saliency` is set.
        best_effort: Whether to fail the photo unless a worker is idle.
        counted: Whether the observer and the rollouts are notified of the outcome.
        future: The result; running from the start of decoding.
        abandoned: Whether the caller no longer waits for the result.
        pixels: Number of pixels according to the file's header.
        entered: Time of arrival in seconds, as of `time.perf_counter`.
    """

    photo: Photo | None
    model: str | None
    saliency: bool
    client: str | None = None
    preview: int | None = None
    base: Base | None = None
    best_effort: bool = False
    counted: bool = True
    future: Future[Answer] = field(default_factory=Future)
    abandoned: bool = False
    pixels: int = 0
    entered: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Answer:
    """The answer to a job.

    Attributes:
        result: A prediction; an embedding where the job names a base.
        preprocessed: The photo as the model got it.
        preview: The preview as RGB pixels; None where none was wanted.
    """

    result: Prediction | Embedding
    preprocessed: PreprocessedPhoto
    preview: NDArray[np.uint8] | None


@dataclass(frozen=True)
class DecodedJob:
    """A job whose photo is decoded for a model.

    Attributes:
        job: The job.
        classifier: The model.
        preprocessed: Its input.
        preview: As `Answer.preview`.
        content: The photo's file, where a rollout needs it.
    """

    job: Job
    classifier: Classifier
    preprocessed: PreprocessedPhoto
    preview: NDArray[np.uint8] | None
    content: bytes | None = None
