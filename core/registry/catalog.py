"""Available models and the classifier of each one's live revision."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle.config import Base
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.leaderboard import ModelInfo, read_unbundled
from core.errors import BundleError, ModelNotFoundError
from core.inference.classifier import Classifier
from core.message_process import MessageProcess
from core.registry.bases import Bases, ClassifierLoader
from core.registry.failures import FailureListener, FailureLog
from core.registry.live_classifiers import LiveClassifiers, Timings
from core.registry.live_revisions import LiveRevisions
from core.registry.private_models import PrivateModels
from core.registry.revisions import RevisionStore
from core.registry.servable_bundles import ServableBundles
from core.registry.taught import TaughtStore, is_private
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import LiveRevision

__all__ = ["Catalog"]

_BEST_FOR_PHOTOS = ("efficientnet", "mobilenet", "scratch", "classic")


class Catalog:
    """The bundled models and the pulled revisions that are live.

    Classifiers are loaded on first use and cached. Where a live revision cannot be loaded, the
    catalog falls back to the last good revision, then to the bundled one, and logs an error.

    Args:
        settings: `models`, `model`, `threads`, `home` and `database_url` are used.
        timings: Intervals of polling and retrying.
    """

    def __init__(self, settings: Settings, timings: Timings | None = None) -> None:
        self._settings = settings
        self._failures = FailureLog()
        self._revisions = RevisionStore(settings.home)
        self._live = LiveRevisions(settings, self._failures)
        self._servable = ServableBundles(settings.models, self._revisions, self._live)
        self._bases = Bases(settings.models, self._revisions)
        self._loader = ClassifierLoader(self._bases, threads=settings.threads)
        self._classifiers = LiveClassifiers(
            self._servable, self._live, self._loader, self._failures, timings or Timings()
        )
        self._private = PrivateModels(TaughtStore(settings.home), self._revisions, self._loader)
        self._bases_loaded: dict[str, Classifier] = {}
        self._base_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def models(self) -> list[ModelInfo]:
        """List all readable models by name, each in its live revision; others are logged."""
        return [
            model for name in self._servable.names() if (model := self._model(name)) is not None
        ]

    def unbundled(self) -> list[ModelInfo]:
        """List the models of which only the metrics are stored, by name."""
        try:
            return read_unbundled(self._settings.models)
        except BundleError as error:
            self._failures.report(f"Models without stored weights are not listed: {error}")
            return []

    def problems(self) -> dict[str, BundleError | None]:
        """Verify and load every installed model.

        Returns:
            The error of each model, None where there is none. Bundled models are keyed by name,
            pulled revisions by name and revision, unreadable ones by revision. A live or last good
            revision that is not installed counts as an error.
        """
        folders = {folder.name: folder for folder in find_bundles(self._settings.models)}
        for pulled in self._revisions.all():
            bundle = pulled.bundle
            folders[f"{bundle.config.name} {bundle.revision}"] = bundle.folder
        problems: dict[str, BundleError | None] = dict(self._revisions.damaged())
        for name, row in self._live.all().items():
            for revision in (row.revision, row.last_good):
                if revision is None or revision == BUNDLED:
                    continue
                if not self._revisions.path(name, revision).is_dir():
                    problems[f"{name} {revision}"] = BundleError(
                        "it is live or the last good revision, but not installed. Install it with "
                        "`tensight models pull`."
                    )
        for key, folder in folders.items():
            problems[key] = None
            try:
                bundle = Bundle.open(folder)
                bundle.verify()
                bundle.metrics()
                self._loader.load(bundle)
            except BundleError as error:
                problems[key] = error
        return problems

    def default(self) -> str:
        """Return the name of the default model.

        It is TENSIGHT_MODEL where that is set, otherwise the readable model that is best for
        photos. If TENSIGHT_MODEL names a model that earlier versions included and this one does
        not, a message says so once, and the best for photos is used.

        Raises:
            ModelNotFoundError: No model is readable, or TENSIGHT_MODEL names none.
            BundleError: The model named by TENSIGHT_MODEL is damaged.
        """
        chosen = self._settings.model
        if chosen is not None and not self._is_retired(chosen):
            bundle = self.bundle(chosen)
            bundle.metrics()
            return bundle.config.name
        default = self._best_for_photos()
        if chosen is not None:
            self._failures.report(
                f"TENSIGHT_MODEL names {chosen}, which is no longer included; {default} is used "
                f"instead. Unset TENSIGHT_MODEL, or pull {chosen} from a Hub repository that still "
                "has it."
            )
        return default

    def _is_retired(self, name: str) -> bool:
        """Return whether only the metrics of a model are kept, and neither bundle nor revision."""
        if name in self._servable.names():
            return False
        return any(model.name == name for model in self.unbundled())

    def _best_for_photos(self) -> str:
        names = self._servable.names()
        # In the order of preference, so that `tensight predict` reads one model only.
        preferred = [name for name in _BEST_FOR_PHOTOS if name in names]
        for name in dict.fromkeys(preferred + names):
            if self._model(name) is not None:
                return name
        raise ModelNotFoundError(
            f"There is no usable model in {self._settings.models}. Train one with "
            "`tensight train classic`, set TENSIGHT_MODELS to a folder with models, or "
            "download some with `tensight models pull`."
        )

    def bundle(self, name: str) -> Bundle:
        """Open the bundle of a model's live revision, or of the first fallback that opens.

        Raises:
            ModelNotFoundError: There is no model of that name.
            BundleError: No revision of it can be opened.
        """
        self._servable.check_exists(name)
        problem: BundleError | None = None
        for found in self._servable.of(name):
            if isinstance(found, Bundle):
                return found
            problem = problem or found
        raise problem or self._servable.not_found(name)

    def bundled(self, name: str) -> Bundle | None:
        """Open the bundled revision of a model; None where there is none.

        Raises:
            BundleError: Its config.json is invalid.
        """
        return self._servable.bundled(name)

    def load(self, name: str | None = None) -> Classifier:
        """Return the classifier of a model's live revision, loading it on first use.

        Args:
            name: Name of the model; None for the default model.

        Raises:
            ModelNotFoundError: There is no model of that name.
            BundleError: No revision of it can be loaded.
        """
        name = self.default() if name is None else name
        if not is_private(name):
            return self._classifiers.load(name)
        loaded = self._private.load(name)
        if loaded is None:
            raise self._servable.not_found(name)
        return loaded

    def find_revision(self, name: str, revision: str) -> Bundle | None:
        """Open a revision of a model, live or not; None where it is not installed.

        Args:
            name: Name of the model.
            revision: Its revision, 12 hex digits.

        Raises:
            BundleError: It is installed, but its config.json is invalid.
        """
        return self._servable.find(name, revision)

    def folders(self, bundle: Bundle) -> list[Path]:
        """Return the model folder of a bundle, and that of its base where it has one.

        Raises:
            BundleError: The base is not installed.
        """
        base = self._bases.of(bundle)
        return [each.folder for each in (bundle, base) if each is not None]

    def load_candidate(
        self, bundle: Bundle, *, on_start: Callable[[MessageProcess], object]
    ) -> Classifier:
        """Load a classifier that may crash or hang without harm to this process.

        Args:
            bundle: An installed revision, which is not cached.
            on_start: As for `ClassifierLoader.load_isolated`.

        Raises:
            BundleError: It cannot be loaded.
            EngineStartError: Its process did not start, which a later attempt may do.
        """
        return self._loader.load_isolated(bundle, on_start=on_start)

    def load_folder(self, folder: Path) -> Classifier:
        """Load a model from a folder that need not be installed.

        Args:
            folder: The model folder.

        Raises:
            BundleError: It is damaged, or the base of a taught model is not installed.
        """
        bundle = Bundle.open(folder.resolve())
        bundle.metrics()
        return self._loader.load(bundle)

    def load_base(self, base: Base) -> Classifier:
        """Return the classifier whose embeddings taught models use, loading it on first use.

        Args:
            base: The base that they name.

        Raises:
            ModelNotFoundError: It is not installed.
            BundleError: It cannot be loaded.
        """
        with self._base_locks[base.sha256]:
            loaded = self._bases_loaded.get(base.sha256)
            if loaded is None:
                bundle = self._bases.find(base)
                if bundle is None:
                    raise ModelNotFoundError(
                        f"The model {base.name} with the SHA-256 {base.sha256[:12]} is not "
                        "installed. Install it with `tensight models pull`."
                    )
                loaded = self._bases_loaded[base.sha256] = self._loader.load(bundle)
            return loaded

    def private(self, name: str) -> ModelInfo | None:
        """Describe a private taught model, which `models` does not list; None where there is none.

        Raises:
            BundleError: Its model folder is missing or damaged.
        """
        bundle = self._private.bundle(name)
        return None if bundle is None else ModelInfo.of(bundle)

    def private_bundle(self, name: str) -> Bundle | None:
        """Return the bundle of a private taught model; None where there is none of that name.

        Raises:
            BundleError: Its model folder is missing or damaged.
        """
        return self._private.bundle(name)

    def refresh_live(self) -> None:
        """Read the live revisions again, without loading any model."""
        self._live.refresh()

    def live(self) -> Mapping[str, LiveRevision]:
        """Return the live and last good revisions by model."""
        return self._live.all()

    def is_live(self, name: str, revision: str) -> bool:
        """Return whether a revision is the promoted one, not a fallback for it."""
        return self._servable.is_live(name, revision)

    def loaded(self) -> list[str]:
        """List the names of the loaded models."""
        return self._classifiers.names()

    def add_failure_listener(self, listener: FailureListener) -> None:
        """Call a function for each failure from now on that is also logged as an error.

        Args:
            listener: Gets the message: a live revision cannot be loaded, or the database with the
                live revisions is not available.
        """
        self._failures.add_listener(listener)

    def remove_failure_listener(self, listener: FailureListener) -> None:
        """Undo `add_failure_listener`."""
        self._failures.remove_listener(listener)

    def report(self, problem: str) -> None:
        """Log a problem with a model as an error, and tell the failure listeners, once."""
        self._failures.report(problem)

    def watch(self) -> None:
        """Start a thread that applies promotions and rollbacks within a second, until `close`."""
        self._classifiers.watch()

    def refresh(self) -> None:
        """Read the live revisions and load those that changed.

        Concurrent calls of `load` return the previous classifier until the new one is loaded.
        """
        self._classifiers.refresh()

    def close(self) -> None:
        """Stop the watcher thread and close the database."""
        self._classifiers.close()
        self._live.close()

    def _model(self, name: str) -> ModelInfo | None:
        """Describe the loaded revision, or the first readable one that may serve; None without."""
        loaded = self._classifiers.find(name)
        bundles = list(self._servable.of(name))
        if loaded is not None:
            bundles.sort(
                key=lambda each: isinstance(each, BundleError) or each.revision != loaded.revision
            )
        for found in bundles:
            try:
                if isinstance(found, BundleError):
                    raise found
                return self._servable.info(found)
            except BundleError as error:
                self._failures.report(
                    f"{name} is not listed, or falls back to another revision: {error}"
                )
        return None
