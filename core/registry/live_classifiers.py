"""Classifiers of live revisions, which follow promotions and rollbacks."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import BundleError
from core.inference.classifier import Classifier
from core.registry.bases import ClassifierLoader
from core.registry.failures import FailureLog
from core.registry.live_revisions import LiveRevisions
from core.registry.servable_bundles import ServableBundles

if TYPE_CHECKING:
    from core.store.live import LiveRevision

__all__ = ["LiveClassifiers", "Timings"]


@dataclass(frozen=True)
class Timings:
    """Intervals in seconds.

    Attributes:
        poll_s: Interval of reading the live revisions.
        retry_s: Pause before a revision that could not be loaded is tried again.
    """

    poll_s: float = 0.25
    retry_s: float = 5.0


class LiveClassifiers:
    """The classifier of each model's live revision, or of the first fallback that can be loaded.

    Classifiers are loaded on first use and cached. Safe to share between threads.

    Args:
        servable: Finds the bundles that may serve.
        live: Live revisions.
        loader: Loads classifiers.
        failures: Receives a message about each revision that cannot be loaded.
        timings: Intervals of polling and retrying.
    """

    def __init__(
        self,
        servable: ServableBundles,
        live: LiveRevisions,
        loader: ClassifierLoader,
        failures: FailureLog,
        timings: Timings,
    ) -> None:
        self._servable = servable
        self._live = live
        self._loader = loader
        self._failures = failures
        self._timings = timings
        self._classifiers: dict[str, Classifier] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        # By model: the row of the live table that was last applied, and when to apply it again.
        # That is never (infinity) where its first bundle was loaded, not a fallback.
        self._applied: dict[str, tuple[LiveRevision | None, float]] = {}
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def load(self, name: str) -> Classifier:
        """Return the classifier of a model, loading it on first use.

        Raises:
            ModelNotFoundError: There is no model of that name.
            BundleError: No revision of it can be loaded.
        """
        # Lock-free fast path: a loaded model must not wait for another one's load.
        loaded = self._classifiers.get(name)
        if loaded is not None:
            return loaded
        self._servable.check_exists(name)
        with self._locks[name]:
            if name not in self._classifiers:
                self._classifiers[name], _ = self._first_loadable(name)
            return self._classifiers[name]

    def find(self, name: str) -> Classifier | None:
        """Return the classifier of a model; None where it is not loaded."""
        return self._classifiers.get(name)

    def names(self) -> list[str]:
        """List the names of the loaded models."""
        return sorted(self._classifiers)

    def refresh(self) -> None:
        """Read the live revisions and load those that changed.

        Concurrent calls of `load` return the previous classifier until the new one is loaded.
        """
        live = self._live.refresh()
        for name in sorted({*self._classifiers, *live}):
            try:
                self._refresh(name)
            except Exception as error:  # noqa: BLE001  # one model must not keep the others stale
                self._failures.report(
                    f"{name} was not refreshed, the loaded revision is kept: {error}"
                )

    def watch(self) -> None:
        """Start a thread that calls `refresh` at each interval, until `close`."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """Stop the thread, and wait for its last refresh."""
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._timings.poll_s):
            self.refresh()

    def _refresh(self, name: str) -> None:
        row = self._live.all().get(name)
        before, not_before = self._applied.get(name, (None, 0.0))
        if name in self._applied and before == row and time.monotonic() < not_before:
            return
        self._applied[name] = row, time.monotonic() + self._timings.retry_s
        self._classifiers[name], is_first_choice = self._first_loadable(name)
        if is_first_choice:
            self._applied[name] = row, math.inf

    def _first_loadable(self, name: str) -> tuple[Classifier, bool]:
        """Load the first bundle that can be loaded, and tell whether it is the first of all.

        Raises:
            ModelNotFoundError: There is no bundle.
            BundleError: No bundle can be loaded.
        """
        problem: BundleError | None = None
        for found in self._servable.of(name):
            try:
                if isinstance(found, BundleError):
                    raise found
                found.metrics()
                old = self._classifiers.get(name)
                if old is not None and old.revision == found.revision:
                    return old, problem is None
                return self._loader.load(found), problem is None
            except BundleError as error:
                problem = problem or error
                self._failures.report(f"{name} cannot be loaded: {error}")
        raise problem or self._servable.not_found(name)
