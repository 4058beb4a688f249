"""Classify with the head of a taught model whose base runs in another process."""

from __future__ import annotations

import threading

from core.bundle.config import HEAD
from core.bundle.folder import Bundle
from core.inference.answer import make_prediction
from core.inference.embedding import Embedding
from core.inference.evidence import Evidence
from core.inference.head import Head, read_head
from core.inference.prediction import Prediction

__all__ = ["HeadClassifier"]


class HeadClassifier:
    """The head of a taught model, for embeddings that another process computes. Thread-safe.

    Args:
        bundle: The model folder.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._lock = threading.Lock()
        self._head: Head | None = None

    def classify(self, embedding: Embedding, photo: str | None) -> Prediction:
        """Classify a photo by its embedding.

        Args:
            embedding: Embedding by the base; if it has features, the prediction has a saliency map.
            photo: Path of the photo; None for bytes and PIL images.

        Raises:
            BundleError: The head is damaged, or does not fit the embedding.
        """
        head = self._load_head(embedding.vector.shape[-1])
        vector, features = embedding.vector[None], embedding.features
        return make_prediction(
            self.bundle,
            photo,
            head.logits(vector)[0],
            float(head.known_scores(vector)[0]),
            None if features is None else Evidence(head.maps(features[None])[0], activation=True),
            embedding.timing_ms,
        )

    def _load_head(self, features: int) -> Head:
        with self._lock:
            if self._head is None:
                labels = len(self.bundle.config.labels)
                self._head = read_head(self.bundle.read(HEAD), features, labels)
            return self._head
