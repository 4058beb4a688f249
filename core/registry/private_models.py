"""Private taught models: their bundles, and the classifiers of those that were used last."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from contextlib import suppress

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.classifier import Classifier
from core.registry.bases import ClassifierLoader
from core.registry.revisions import RevisionStore
from core.registry.taught import TaughtRecord, TaughtStore

__all__ = ["PrivateModels"]

_MAX_LOADED = 100


class PrivateModels:
    """Finds and loads private taught models, which are never promoted: a record names the revision.

    At most 100 classifiers are kept, those that were used last. Safe to share between threads.

    Args:
        records: Records of the models, which name owner and revision.
        revisions: Installed revisions.
        loader: Loads classifiers.
    """

    def __init__(
        self, records: TaughtStore, revisions: RevisionStore, loader: ClassifierLoader
    ) -> None:
        self._records = records
        self._revisions = revisions
        self._loader = loader
        # Those that were used last at the end.
        self._classifiers: OrderedDict[str, Classifier] = OrderedDict()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def bundle(self, name: str) -> Bundle | None:
        """Open the bundle of a model; None where there is none of that name.

        Raises:
            BundleError: Its model folder is missing or damaged.
        """
        record = self._records.find(name)
        return None if record is None else self._open(record)

    def load(self, name: str) -> Classifier | None:
        """Return the classifier of a model in the revision of its record, loading it on first use.

        Returns:
            The classifier; None where there is no model of that name.

        Raises:
            BundleError: Its model folder is missing or damaged, or its base is missing.
        """
        record = self._records.find(name)
        if record is None:
            self._classifiers.pop(name, None)
            return None
        with self._locks[name]:
            loaded = self._classifiers.get(name)
            if loaded is None or loaded.revision != record.revision:
                loaded = self._loader.load(self._open(record))
            self._classifiers[name] = loaded
            with suppress(KeyError):  # another thread may have removed it
                self._classifiers.move_to_end(name)
        while len(self._classifiers) > _MAX_LOADED:
            oldest, _ = self._classifiers.popitem(last=False)
            self._locks.pop(oldest, None)
        return loaded

    def _open(self, record: TaughtRecord) -> Bundle:
        found = self._revisions.find(record.id, record.revision)
        if found is None:
            raise BundleError(f"The files of {record.id} are missing. Teach it again.")
        return found
