"""A predictor's work that takes as long as a test wants."""

from __future__ import annotations

import threading

from core.inference.classifier import Classifier, PreprocessedPhoto
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT


class SlowCatalog(Catalog):
    """A catalog whose classifiers wait, before they decode a photo, until they are let go."""

    def __init__(self) -> None:
        super().__init__(Settings(models=ROOT / "models"))
        self.go = threading.Event()
        self.asked = 0
        self._slow: dict[str | None, Classifier] = {}
        self._started = threading.Semaphore(0)

    def wait_until_asked(self, times: int) -> None:
        """Return once that many photos are being worked on."""
        for _ in range(times):
            assert self._started.acquire(timeout=30)

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
                outer.go.wait(30)
                return super().preprocess(photo)

        return Slow()
