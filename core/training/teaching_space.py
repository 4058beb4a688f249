"""Fit the embedding space of a model, so that classifiers can be taught on it."""

from __future__ import annotations

import numpy as np

from core.inference.classifier import Classifier
from core.inference.head import EmbeddingSpace
from core.photos.preprocess import crops
from core.teaching.space import fit_space
from core.training.data.real_photos import ALIKE_KINDS, RealPhotosParts

__all__ = ["fit_teaching_space"]


def fit_teaching_space(classifier: Classifier, photos: RealPhotosParts) -> EmbeddingSpace:
    """Fit the embedding space of a model to the photos that it is trained and selected with.

    Photos of the kinds on which teaching is evaluated are left out.

    Args:
        classifier: The model.
        photos: The real photos.
    """
    known = photos.train.concat(photos.valid)
    known = known.select(~np.isin(known.kinds, ALIKE_KINDS))
    spec = classifier.config.input
    # One by one, since the photos at the input size do not fit into memory.
    embeddings = [classifier.embed([crops(image, spec)]) for image in known.images]
    return fit_space(np.concatenate(embeddings), known.kinds)
