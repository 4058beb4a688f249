"""Decode photos for models, in worker processes or in this one."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

from PIL import Image

from core.errors import PhotoReadError, PredictorError
from core.inference.classifier import Classifier, PreprocessedPhoto, name_of
from core.photos.decode import Photo, read_photo
from core.photos.formats.claimed import PREFIX_BYTES, claimed_pixels
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation, PreparedPhoto, prepare
from core.serving.jobs import DecodedJob, Job

__all__ = ["Preprocessor", "content_of", "pixels_of"]


class Preprocessor:
    """Decodes photos for models.

    Args:
        photos: Worker processes that decode; None to decode in the calling thread.
    """

    def __init__(self, photos: PhotoPool | None) -> None:
        self._photos = photos

    def preprocess(self, job: Job, photo: Photo, classifier: Classifier) -> DecodedJob:
        """Decode a photo for a model, in a worker process if there are any."""
        if self._photos is None:
            preprocessed, preview = classifier.preprocess(photo), None
            if job.preview is not None:
                preview = prepare(photo, Preparation(preview=job.preview)).preview
            return DecodedJob(job, classifier, preprocessed, preview)
        started = time.perf_counter()
        prepared = self._photos.prepare(photo, classifier.preparation(preview=job.preview))
        decode_ms = 1000 * (time.perf_counter() - started)
        if prepared.crops is None:
            raise PredictorError("The photo was decoded without the model's input. Try again.")
        preprocessed = PreprocessedPhoto(name_of(photo), prepared.crops, decode_ms)
        return DecodedJob(job, classifier, preprocessed, prepared.preview)

    def prepare(self, photo: Photo, wanted: Preparation) -> PreparedPhoto:
        """Decode a photo; arguments and errors as those of `core.photos.prepare.prepare`."""
        return (prepare if self._photos is None else self._photos.prepare)(photo, wanted)

    def preprocess_again(self, decoded: DecodedJob, classifier: Classifier) -> DecodedJob:
        """Return a photo preprocessed for another classifier than before.

        Raises:
            PredictorError: Its input differs, and the photo's file is gone.
        """
        if classifier.config.input == decoded.classifier.config.input:
            return decoded
        if decoded.content is None:
            raise PredictorError("The model failed on this photo. Send it again.")
        again = self.preprocess(decoded.job, decoded.content, classifier)
        named = replace(again.preprocessed, photo=decoded.preprocessed.photo)
        return replace(again, preprocessed=named)


def content_of(photo: Photo) -> bytes | None:
    """Return the bytes of a photo's file; None for an image, and where the file is gone."""
    if not isinstance(photo, str | os.PathLike):
        return photo if isinstance(photo, bytes) else None
    try:
        return read_photo(photo)
    except PhotoReadError:
        return None


async def pixels_of(photo: Photo) -> int:
    """Return the number of pixels that a photo's header states; 0 where it cannot be read."""
    if isinstance(photo, bytes):
        return claimed_pixels(photo)
    if isinstance(photo, Image.Image):
        return photo.width * photo.height
    try:
        return claimed_pixels(await asyncio.to_thread(read_photo, photo, PREFIX_BYTES))
    except PhotoReadError:
        return 0
