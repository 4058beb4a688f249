"""Taught models of a front whose photos are embedded by a remote predictor."""

from __future__ import annotations

import threading
from collections import OrderedDict

from core.bundle.folder import Bundle
from core.bundle.leaderboard import ModelInfo
from core.errors import BundleError, ModelNotFoundError
from core.inference.remote_head import HeadClassifier
from core.registry.catalog import Catalog
from core.registry.taught import is_private

__all__ = ["LocalHeads"]

_MAX_LOADED = 100


class LocalHeads:
    """The taught models that are installed here. Safe to share between threads.

    Args:
        catalog: The models of this machine; those without a base are not used.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, HeadClassifier] = OrderedDict()

    def models(self) -> list[ModelInfo]:
        """List the taught models that are live here, without private ones."""
        self._catalog.refresh_live()
        live = self._catalog.live()
        return [
            each
            for each in self._catalog.models()
            if each.config.base is not None and each.name in live
        ]

    def find(self, name: str) -> HeadClassifier | None:
        """Return a taught model that is installed here; None where there is none of that name.

        Raises:
            BundleError: The model is damaged.
        """
        bundle = self._bundle(name)
        if bundle is None or bundle.config.base is None:
            return None
        with self._lock:
            found = self._loaded.get(name)
            if found is None or found.bundle.revision != bundle.revision:
                found = self._loaded[name] = HeadClassifier(bundle)
            self._loaded.move_to_end(name)
            while len(self._loaded) > _MAX_LOADED:
                self._loaded.popitem(last=False)
            return found

    def model(self, name: str) -> ModelInfo | None:
        """Describe a taught model that is installed here; None where there is none of that name.

        Raises:
            BundleError: As in `find`.
        """
        found = self.find(name)
        return None if found is None else ModelInfo.of(found.bundle)

    def close(self) -> None:
        """Close the catalog."""
        self._catalog.close()

    def _bundle(self, name: str) -> Bundle | None:
        if is_private(name):
            return self._catalog.private_bundle(name)
        self._catalog.refresh_live()
        if name not in self._catalog.live():
            return None
        try:
            return self._catalog.bundle(name)
        except (BundleError, ModelNotFoundError):
            # The remote predictor may have the model.
            return None
