"""Which models there are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from core.bundle import Bundle, Metrics, find_bundles
from core.classifier import Classifier
from core.errors import BundleError, ModelNotFoundError
from core.results import Result, read_unbundled
from core.settings import Settings

__all__ = ["Catalog", "Entry"]

_BEST_FOR_PHOTOS = ("mobilenet", "scratch", "classic")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A model that can be had."""

    bundle: Bundle
    metrics: Metrics

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.config.name


class Catalog:
    """The models in the folder of the settings; each is loaded once, on first use.

    Args:
        settings: `models`, `model` and `threads` are used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._classifiers: dict[str, Classifier] = {}
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """All models that can be read, by name; others are logged and left out."""
        entries = []
        for found in self._scan():
            if isinstance(found, BundleError):
                logger.warning("Left out: %s", found)
            else:
                entries.append(found)
        return entries

    def results(self) -> list[Result]:
        """Figures of all models that can be read, also of those whose weights are not kept."""
        kept = [Result(e.bundle.config, e.metrics, e.bundle.revision) for e in self.entries()]
        try:
            return kept + read_unbundled(self._settings.models)
        except BundleError as error:
            logger.warning("Left out: %s", error)
            return kept

    def problems(self) -> dict[str, BundleError | None]:
        """Check every file of every model folder, and load it: name -> what is wrong, or None."""
        problems: dict[str, BundleError | None] = {}
        for folder in find_bundles(self._settings.models):
            problems[folder.name] = None
            try:
                bundle = Bundle.open(folder)
                bundle.verify()
                bundle.metrics()
                Classifier(bundle, threads=1)
            except BundleError as error:
                problems[folder.name] = error
        return problems

    def default(self) -> str:
        """Name of the model that answers when none is asked for.

        TENSIGHT_MODEL, else the best for photos among those that can be read.

        Raises:
            ModelNotFoundError: No model can be read, or none is called like TENSIGHT_MODEL.
            BundleError: The model of TENSIGHT_MODEL is damaged.
        """
        if self._settings.model is not None:
            bundle = self.bundle(self._settings.model)
            bundle.metrics()
            return bundle.config.name
        names = [found.name for found in self._scan() if isinstance(found, Entry)]
        if not names:
            raise ModelNotFoundError(
                f"There is no good model in {self._settings.models}. Train one with "
                "`tensight train classic`, or name a folder with models in TENSIGHT_MODELS."
            )
        return next((name for name in _BEST_FOR_PHOTOS if name in names), names[0])

    def bundle(self, name: str) -> Bundle:
        """The folder of a model.

        Raises:
            ModelNotFoundError: No model of that name.
            BundleError: Its config.json is missing or wrong.
        """
        folders = {folder.name: folder for folder in find_bundles(self._settings.models)}
        if name not in folders:
            raise self._not_found(name)
        return Bundle.open(folders[name])

    def load(self, name: str | None = None) -> Classifier:
        """The classifier of a model; None: the default one.

        Raises:
            ModelNotFoundError: No model of that name.
            BundleError: Its folder is damaged.
        """
        name = self.default() if name is None else name
        with self._lock:
            if name not in self._classifiers:
                self._classifiers[name] = Classifier(
                    self.bundle(name), threads=self._settings.threads
                )
            return self._classifiers[name]

    def _scan(self) -> Iterator[Entry | BundleError]:
        """Each model folder, by name, or what is wrong with it."""
        for folder in find_bundles(self._settings.models):
            try:
                bundle = Bundle.open(folder)
                yield Entry(bundle, bundle.metrics())
            except BundleError as error:
                yield error

    def _not_found(self, name: str) -> ModelNotFoundError:
        names = ", ".join(folder.name for folder in find_bundles(self._settings.models)) or "none"
        for result in read_unbundled(self._settings.models):
            if result.config.name == name:
                return ModelNotFoundError(
                    f"Of the model {name!r} only figures are kept, no weights. Models here: "
                    f"{names}."
                )
        return ModelNotFoundError(f"There is no model {name!r}. Models here: {names}.")
