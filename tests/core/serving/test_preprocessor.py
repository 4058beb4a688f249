"""Decoding for models in the calling thread, without a predictor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from core.errors import PredictorError
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.photos.decode import Photo
from core.serving.jobs import Job
from core.serving.preprocessor import Preprocessor, content_of, pixels_of


def classifier(size: int) -> Classifier:
    """Return a stand-in for a model that takes photos of some size."""

    def preprocess(photo: Photo) -> PreprocessedPhoto:
        return PreprocessedPhoto(None, np.zeros((1, size, size, 3), np.uint8), 0.0)

    fake: Any = SimpleNamespace(config=SimpleNamespace(input=size), preprocess=preprocess)
    return cast("Classifier", fake)


def test_preview_is_computed_only_where_it_is_wanted(photo: Path) -> None:
    preprocessor = Preprocessor(None)
    plain = preprocessor.preprocess(Job(photo, None, False), photo, classifier(32))
    shown = preprocessor.preprocess(Job(photo, None, False, preview=50), photo, classifier(32))
    assert plain.preview is None
    assert shown.preview is not None
    assert max(shown.preview.shape) == 50


def test_photo_for_a_model_of_another_input_is_decoded_again(jpeg: bytes) -> None:
    preprocessor = Preprocessor(None)
    decoded = preprocessor.preprocess(Job(None, None, False), jpeg, classifier(32))
    named = replace(decoded.preprocessed, photo="photo.jpg")
    decoded = replace(decoded, preprocessed=named, content=jpeg)
    assert preprocessor.preprocess_again(decoded, classifier(32)) is decoded
    again = preprocessor.preprocess_again(decoded, classifier(64))
    assert again.preprocessed.crops.shape == (1, 64, 64, 3)
    assert again.preprocessed.photo == "photo.jpg", "the name is that of the file as sent"
    with pytest.raises(PredictorError, match="Send it again"):
        preprocessor.preprocess_again(replace(decoded, content=None), classifier(64))


def test_content_is_that_of_the_file_if_it_is_there(photo: Path, jpeg: bytes) -> None:
    assert content_of(jpeg) == jpeg
    assert content_of(photo) == content_of(str(photo)) == photo.read_bytes()
    assert content_of(photo.with_name("gone.jpg")) is None
    assert content_of(Image.new("RGB", (2, 2))) is None


def test_pixels_are_those_of_the_header(photo: Path) -> None:
    with Image.open(photo) as image:
        pixels = image.width * image.height
        assert asyncio.run(pixels_of(image)) == pixels
    assert asyncio.run(pixels_of(photo)) == asyncio.run(pixels_of(photo.read_bytes())) == pixels
    assert asyncio.run(pixels_of(photo.with_name("gone.jpg"))) == 0
