"""Catalogs and observers that record what a predictor does."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace

from core.errors import BundleError
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.serving.batches import Batches
from core.serving.jobs import DecodedJob
from core.settings import Settings
from tests.conftest import ROOT

__all__ = [
    "CountingCatalog",
    "FailingCatalog",
    "GatheringBatches",
    "RecordingObserver",
    "SlowCatalog",
    "failing",
]

# Far longer than it takes on a busy machine.
_PATIENCE_S = 120.0


class RecordingObserver:
    """An observer that records what it receives."""

    def __init__(self) -> None:
        self.answers: list[tuple[Prediction, float, float]] = []
        self.errors: list[Exception] = []

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        self.answers.append((prediction, waited_s, infer_s))

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)


class CountingCatalog(Catalog):
    """A catalog whose classifiers record the sizes of their batches.

    Attributes:
        batches: Model and number of photos of each batch.
        go: Inference waits until it is set, which it is at first.
    """

    def __init__(self) -> None:
        super().__init__(Settings(models=ROOT / "models"))
        self.batches: list[tuple[str, int]] = []
        self.go = threading.Event()
        self.go.set()
        self._counted: dict[str, Classifier] = {}
        self._counted_lock = threading.Lock()

    def load(self, name: str | None = None) -> Classifier:
        name = name or "classic"
        # Two classifiers of one model would not share batches.
        with self._counted_lock:
            if name not in self._counted:
                self._counted[name] = self._count(super().load(name))
            return self._counted[name]

    def _count(self, plain: Classifier) -> Classifier:
        outer = self

        class Counted(Classifier):
            def __init__(self) -> None:
                self.__dict__ |= plain.__dict__

            def infer(
                self, seen: Sequence[PreprocessedPhoto], *, saliency: Sequence[bool]
            ) -> list[Prediction]:
                outer.go.wait(_PATIENCE_S)
                outer.batches.append((self.name, len(seen)))
                return super().infer(seen, saliency=saliency)

        return Counted()

    def swap(self, name: str) -> None:
        """Drop the loaded classifier, as a promotion does."""
        with self._counted_lock:
            self._counted.pop(name, None)


class GatheringBatches(Batches):
    """The batches of a predictor, taken only once a number of photos are decoded.

    Args:
        count: The number of photos.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._missing = count
        self._complete = threading.Event()

    def add(self, decoded: DecodedJob) -> bool:
        start = super().add(decoded)
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self._complete.set()
        return start

    def take(self) -> list[DecodedJob]:
        self.wait_until_complete()
        return super().take()

    def wait_until_complete(self) -> None:
        """Wait until the photos are decoded."""
        assert self._complete.wait(_PATIENCE_S)


def failing(loaded: Classifier, *, nan: bool = False) -> Classifier:
    """Return a classifier that fails at every photo, or computes NaN.

    Args:
        loaded: The classifier that it resembles otherwise.
        nan: Whether it computes NaN instead of failing.
    """

    class Failing(Classifier):
        def __init__(self) -> None:
            self.__dict__ |= loaded.__dict__

        def infer(
            self, seen: Sequence[PreprocessedPhoto], *, saliency: Sequence[bool]
        ) -> list[Prediction]:
            if not nan:
                raise BundleError("it cannot run")
            predictions = super().infer(seen, saliency=saliency)
            return [replace(each, known_score=math.nan) for each in predictions]

    return Failing()


class FailingCatalog(Catalog):
    """A catalog with a model whose inference fails.

    Args:
        failing: Name of the model.
    """

    def __init__(self, failing: str) -> None:
        super().__init__(Settings(models=ROOT / "models"))
        self._failing = failing

    def load(self, name: str | None = None) -> Classifier:
        loaded = super().load(name)
        return failing(loaded) if loaded.name == self._failing else loaded


class SlowCatalog(Catalog):
    """A catalog whose classifiers wait before they decode a photo.

    Attributes:
        go: Decoding waits until it is set.
        asked: Number of photos whose decoding was started.
    """

    def __init__(self) -> None:
        super().__init__(Settings(models=ROOT / "models"))
        self.go = threading.Event()
        self.asked = 0
        self._slow: dict[str | None, Classifier] = {}
        self._started = threading.Semaphore(0)

    def wait_until_asked(self, times: int) -> None:
        """Wait until the decoding of a number of further photos was started."""
        for _ in range(times):
            assert self._started.acquire(timeout=_PATIENCE_S)

    def load(self, name: str | None = None) -> Classifier:
        if name not in self._slow:
            self._slow[name] = self._slowed(super().load(name))
        return self._slow[name]

    def _slowed(self, classifier: Classifier) -> Classifier:
        outer = self

        class Slow(Classifier):
            def __init__(self) -> None:
                self.__dict__ |= classifier.__dict__

            def preprocess(self, photo: Photo) -> PreprocessedPhoto:
                outer.asked += 1
                outer._started.release()
                outer.go.wait(_PATIENCE_S)
                return super().preprocess(photo)

        return Slow()
