"""Count the answers of each revision in histograms, from which drift is found."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict

from core.errors import StoreError
from core.inference.prediction import Prediction
from core.registry.taught import is_private
from core.store.drift import AnswerHistograms, DriftTable
from core.store.feedback import NONE

__all__ = ["CONFIDENCE_BIN_WIDTH", "SCORE_BIN_WIDTH", "AnswerCounts", "confidence_bin"]

_CONFIDENCE_BINS = 15  # as in the reliability diagrams of metrics.json
_SCORE_BINS = 16  # for each unit of the known score
_MAX_SCORE = 64.0
_MAX_LATEST = 1000

CONFIDENCE_BIN_WIDTH = 1 / _CONFIDENCE_BINS
"""Width of a bin of the stored confidences."""

SCORE_BIN_WIDTH = 1 / _SCORE_BINS
"""Width of a bin of the stored known scores."""


class AnswerCounts:
    """Counts of answers that are not stored yet; answers of private models are not counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histograms: dict[tuple[str, str], AnswerHistograms] = {}
        # Digests of the latest answers, the oldest one first.
        self._latest: OrderedDict[str, None] = OrderedDict()

    def add(self, prediction: Prediction, digest: str) -> None:
        """Count an answer, unless it explains a photo that was answered before.

        Args:
            prediction: The answer.
            digest: Its digest, as of `answer_digest`.
        """
        with self._lock:
            is_explanation = prediction.saliency is not None and digest in self._latest
            self._latest[digest] = None
            if len(self._latest) > _MAX_LATEST:
                self._latest.popitem(last=False)
            key = prediction.model, prediction.revision
            if not is_explanation and not is_private(prediction.model):
                _count(self._histograms.setdefault(key, AnswerHistograms()), prediction)

    def store(self, table: DriftTable) -> None:
        """Store what was counted; what cannot be stored is kept.

        Raises:
            StoreError: The database is not available.
        """
        with self._lock:
            histograms, self._histograms = self._histograms, {}
        if not histograms:
            return
        try:
            table.add(histograms)
        except StoreError:
            with self._lock:
                for key, counted in histograms.items():
                    self._histograms.setdefault(key, AnswerHistograms()).add(counted)
            raise

    @property
    def is_empty(self) -> bool:
        """Return whether everything that was counted is stored."""
        return not self._histograms


def confidence_bin(confidence: float) -> str:
    """Return the name of the bin of a confidence, 0 to 1: its lower bound."""
    # Names of bins are rounded lower bounds: the tolerance keeps each of them in its own bin.
    index = min(math.floor(confidence * _CONFIDENCE_BINS + 5e-4), _CONFIDENCE_BINS - 1)
    return f"{index / _CONFIDENCE_BINS:.3f}"


def _count(histograms: AnswerHistograms, prediction: Prediction) -> None:
    label = NONE if prediction.verdict == NONE else prediction.label
    histograms.labels[label] += 1
    score = min(max(prediction.known_score, -_MAX_SCORE), _MAX_SCORE)
    histograms.known_scores[f"{math.floor(score * _SCORE_BINS) / _SCORE_BINS:g}"] += 1
    histograms.confidences[confidence_bin(prediction.confidence)] += 1
