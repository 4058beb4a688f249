"""Bases of taught models: their folders, and their engines, each loaded once."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from weakref import WeakValueDictionary

from core.bundle.config import MODEL, Base
from core.bundle.folder import Bundle, find_bundles
from core.errors import BundleError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.message_process import MessageProcess
from core.registry.revisions import RevisionStore

__all__ = ["Bases", "ClassifierLoader"]


class Bases:
    """The models that taught models may be based on: bundled ones and installed revisions.

    Args:
        models: TENSIGHT_MODELS; bases are looked up here first.
        revisions: Installed revisions.
    """

    def __init__(self, models: Path, revisions: RevisionStore) -> None:
        self._models = models
        self._revisions = revisions

    def of(self, bundle: Bundle, others: Sequence[Bundle] = ()) -> Bundle | None:
        """Return the model folder of a taught model's base; None for a model without a base.

        Args:
            bundle: The model.
            others: Further models that may be the base, the preferred ones.

        Raises:
            BundleError: The base is missing; the message says where to get it.
        """
        base = bundle.config.base
        if base is None:
            return None
        found = self.find(base, others)
        if found is not None:
            return found
        raise BundleError(
            f"{bundle.config.name} {bundle.revision} was taught on the model {base.name} with the "
            f"SHA-256 {base.sha256[:12]}, which is not installed. Install it with `tensight models "
            f"pull --repo OWNER/NAME` from the repository that {bundle.config.name} comes from, or "
            f"from another that has this {base.name}."
        )

    def find(self, base: Base, others: Sequence[Bundle] = ()) -> Bundle | None:
        """Return the model folder of a base; None where it is not installed.

        Args:
            base: The base, as a taught model names it.
            others: As in `of`.
        """
        for each in chain(others, self._installed()):
            if each.config.sha256.get(MODEL) == base.sha256:
                return each
        return None

    def _installed(self) -> Iterator[Bundle]:
        for folder in find_bundles(self._models):
            try:
                yield Bundle.open(folder)
            except BundleError:
                continue  # reported where the model itself is used
        yield from self._revisions.bundles()


class ClassifierLoader:
    """Loads classifiers. Those with the same model.tflite share its engine.

    An engine is dropped with the last classifier that uses it. Safe to share between threads.

    Args:
        bases: Finds the bases of taught models.
        threads: Number of threads for one inference.
    """

    def __init__(self, bases: Bases, *, threads: int) -> None:
        self._bases = bases
        self._threads = threads
        self._loaded: WeakValueDictionary[tuple[object, ...], Backbone] = WeakValueDictionary()
        self._locks: defaultdict[tuple[object, ...], threading.Lock] = defaultdict(threading.Lock)

    def load(self, bundle: Bundle) -> Classifier:
        """Load the classifier of a model folder.

        Args:
            bundle: The model folder.

        Raises:
            BundleError: A file is missing or damaged, or the base of a taught model is missing.
        """
        owner = self._bases.of(bundle) or bundle
        return Classifier(bundle, threads=self._threads, backbone=self._backbone(owner))

    def load_isolated(
        self, bundle: Bundle, *, on_start: Callable[[MessageProcess], object]
    ) -> Classifier:
        """Load a classifier whose engine runs in a worker process.

        Where the same model.tflite is loaded in this process already, it is shared instead.

        Args:
            bundle: The model folder.
            on_start: As for `IsolatedEngine`; not called where an engine is shared.

        Raises:
            BundleError: As for `load`.
            EngineStartError: As for `IsolatedEngine`.
        """
        owner = self._bases.of(bundle) or bundle
        backbone = self._loaded.get(_engine_key(owner))
        if backbone is None:
            backbone = Backbone.isolate(owner, threads=self._threads, on_start=on_start)
        return Classifier(bundle, threads=self._threads, backbone=backbone)

    def _backbone(self, bundle: Bundle) -> Backbone:
        key = _engine_key(bundle)
        # Each file is loaded once, and different files at the same time.
        with self._locks[key]:
            found = self._loaded.get(key)
            if found is None:
                found = self._loaded[key] = Backbone.load(bundle, threads=self._threads)
            return found


def _engine_key(bundle: Bundle) -> tuple[object, ...]:
    config = bundle.config
    return config.sha256.get(MODEL), config.input, len(config.labels), config.views
