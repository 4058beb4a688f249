"""Evaluate teaching on real photos, with the base that models are taught on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.inference.classifier import Classifier
from core.photos.prepare import PreparedPhoto
from core.photos.preprocess import InputSpec, crops
from core.registry.catalog import Catalog
from core.settings import Settings
from core.teaching.base import BASE_MODEL, TeachingBase
from core.teaching.views import preview_side, views_of
from core.training.data.photo_batches import LabelledImages
from core.training.data.real_photos import ALIKE_KINDS, KEPT_BACK_KINDS, load_real_photos
from core.training.embedder import Embedder
from core.training.evaluation.provenance import provenance
from core.training.evaluation.teaching import EmbeddedPhotos, evaluate_teaching
from core.training.evaluation.teaching_results import SuiteResult, TeachingResults
from core.training.networks import cnn
from core.training.networks.imagenet import load_mobilenet

__all__ = ["measure_teaching"]

# What MobileNetV2 with ImageNet weights expects; the middle of a photo, as in Teachable Machine.
_MOBILENET_INPUT = InputSpec(
    height=224,
    width=224,
    resize="center_crop",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def measure_teaching(
    settings: Settings, *, command: str, report: Callable[[SuiteResult], None] | None = None
) -> TeachingResults:
    """Embed the real photos of both suites, and evaluate teaching on them.

    Args:
        settings: `data` and `models` are used.
        command: The command line.
        report: Called with each result.

    Raises:
        DataError: The real photos or the weights of MobileNetV2 are missing.
        ModelNotFoundError, BundleError: The base is missing or damaged.
    """
    parts = load_real_photos(settings)
    photos = parts.train.concat(parts.valid).concat(parts.kept_back)
    photos = photos.select(np.isin(photos.kinds, (*KEPT_BACK_KINDS, *ALIKE_KINDS)))
    catalog = Catalog(settings)
    base = TeachingBase(catalog.bundle(BASE_MODEL))
    views = _views(catalog.load(BASE_MODEL), photos.images)
    embedded = EmbeddedPhotos(
        views,
        _mobilenet(settings).embed(LabelledImages.from_photos(photos)),
        photos.kinds,
    )
    reference = base.reference
    return TeachingResults(
        base=reference.name,
        sha256=reference.sha256,
        command=command,
        date=provenance(command).date,
        suites=evaluate_teaching(embedded, base.space(views), report=report),
    )


def _views(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return embeddings of each photo and its views, shape (n, v, d)."""
    spec = classifier.config.input
    embeddings = []
    for image in images:
        preview = Image.fromarray(image)
        preview.thumbnail((preview_side(spec), preview_side(spec)))
        prepared = PreparedPhoto(crops=crops(image, spec), preview=np.asarray(preview))
        embeddings.append(classifier.outputs(np.stack(views_of(prepared, spec))).embedding)
    return np.stack(embeddings)


def _mobilenet(settings: Settings) -> Embedder:
    spec = _MOBILENET_INPUT
    model = cnn.mobilenet((spec.height, spec.width, 3), 2)
    load_mobilenet(model, settings)
    return Embedder(model, spec)
