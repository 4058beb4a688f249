"""Available models and the classifier of each one's live revision."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle.config import CONFIG, METRICS, Base
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.leaderboard import ModelInfo, read_unbundled
from core.errors import BundleError, ModelNotFoundError, StoreError
from core.inference.classifier import Classifier
from core.registry.bases import Bases, ClassifierLoader
from core.registry.revisions import RevisionStore
from core.registry.taught import TaughtRecord, TaughtStore, is_private
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import LiveRevision
    from core.store.store import Store

__all__ = ["Catalog", "FailureListener", "Timings"]

_MAX_PRIVATE = 100
_BEST_FOR_PHOTOS = ("efficientnet", "mobilenet", "scratch", "classic")

logger = logging.getLogger(__name__)

FailureListener = Callable[[str], None]
"""Receives a sentence about a model that cannot be loaded, once each; called from any thread."""

_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Timings:
    """Intervals of a catalog, in seconds.

    Attributes:
        poll_s: Interval of reading the live revisions.
        retry_s: Pause before a revision that could not be loaded is tried again.
    """

    poll_s: float = 0.25
    retry_s: float = 5.0


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
        self._timings = timings or Timings()
        self._revisions = RevisionStore(settings.home)
        self._bases = Bases(settings.models, self._revisions)
        self._loader = ClassifierLoader(self._bases, threads=settings.threads)
        self._taught = TaughtStore(settings.home)
        self._classifiers: dict[str, Classifier] = {}
        # Private taught models, those that were used last at the end.
        self._private: OrderedDict[str, Classifier] = OrderedDict()
        self._bases_loaded: dict[str, Classifier] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        # Models and bundles by folder; they are read again once a file's time or size changes.
        self._known: dict[Path, tuple[_Stamp | None, ModelInfo]] = {}
        self._opened: dict[Path, tuple[_Stamp, Bundle]] = {}
        self._store: Store | None = None
        self._live: Mapping[str, LiveRevision] | None = None
        # By model: the row of the live table that was last applied, and when to apply it again.
        # That is never (infinity) where its first candidate was loaded.
        self._applied: dict[str, tuple[LiveRevision | None, float]] = {}
        self._logged: set[str] = set()
        self._listeners: list[FailureListener] = []
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def models(self) -> list[ModelInfo]:
        """List all readable models by name, each in its live revision; others are logged."""
        return [model for name in self._names() if (model := self._model(name)) is not None]

    def unbundled(self) -> list[ModelInfo]:
        """List the models of which only the metrics are stored, by name."""
        try:
            return read_unbundled(self._settings.models)
        except BundleError as error:
            self._log_once(f"Models without stored weights are not listed: {error}")
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
        for name, row in self._now_live().items():
            for revision in (row.revision, row.last_good):
                there = revision in (None, BUNDLED) or self._revisions.path(name, revision).is_dir()
                if not there:
                    problems[f"{name} {revision}"] = BundleError(
                        "it is live or the last good revision, but not installed. Install it with "
                        "`tensight models pull`."
                    )
        for what, folder in folders.items():
            problems[what] = None
            try:
                bundle = Bundle.open(folder)
                bundle.verify()
                bundle.metrics()
                self._loader.load(bundle)
            except BundleError as error:
                problems[what] = error
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
            self._log_once(
                f"TENSIGHT_MODEL names {chosen}, which is no longer included; {default} is used "
                f"instead. Unset TENSIGHT_MODEL, or pull {chosen} from a Hub repository that still "
                "has it."
            )
        return default

    def _is_retired(self, name: str) -> bool:
        """Return whether only the metrics of a model are kept, and neither bundle nor revision."""
        if name in self._names():
            return False
        return any(model.name == name for model in self.unbundled())

    def _best_for_photos(self) -> str:
        names = list(self._names())
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
        self._refuse_unknown(name)
        problem: BundleError | None = None
        for found in self._candidates(name):
            if isinstance(found, Bundle):
                return found
            problem = problem or found
        raise problem or self._not_found(name)

    def bundled(self, name: str) -> Bundle | None:
        """Open the bundled revision of a model; None where there is none.

        Raises:
            BundleError: Its config.json is invalid.
        """
        folder = self._settings.models / name
        stamp = _changed(folder / CONFIG)
        if stamp is None:
            return None
        before, bundle = self._opened.get(folder, (None, None))
        if bundle is None or before != stamp:
            bundle = Bundle.open(folder)
            self._opened[folder] = stamp, bundle
        return bundle

    def load(self, name: str | None = None) -> Classifier:
        """Return the classifier of a model's live revision, loading it on first use.

        Args:
            name: Name of the model; None for the default model.

        Raises:
            ModelNotFoundError: There is no model of that name.
            BundleError: No revision of it can be loaded.
        """
        name = self.default() if name is None else name
        if is_private(name):
            return self._load_private(name)
        # Lock-free fast path: a loaded model must not wait for another one's load.
        loaded = self._classifiers.get(name)
        if loaded is not None:
            return loaded
        self._refuse_unknown(name)
        with self._locks[name]:
            if name not in self._classifiers:
                self._classifiers[name], _ = self._loaded(name)
            return self._classifiers[name]

    def find_revision(self, name: str, revision: str) -> Bundle | None:
        """Open a revision of a model, live or not; None where it is not installed.

        Args:
            name: Name of the model.
            revision: Its revision, 12 hex digits.

        Raises:
            BundleError: It is installed, but its config.json is invalid.
        """
        bundled = self.bundled(name)
        if bundled is not None and bundled.revision == revision:
            return bundled
        return self._revisions.find(name, revision)

    def folders(self, bundle: Bundle) -> list[Path]:
        """Return the model folder of a bundle, and that of its base where it has one.

        Raises:
            BundleError: The base is not installed.
        """
        base = self._bases.of(bundle)
        return [each.folder for each in (bundle, base) if each is not None]

    def load_candidate(self, bundle: Bundle) -> Classifier:
        """Load a classifier that may crash or hang without harm to this process.

        Args:
            bundle: An installed revision, which is not cached.

        Raises:
            BundleError: It cannot be loaded.
        """
        return self._loader.load_isolated(bundle)

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
        with self._locks[base.sha256]:
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
        bundle = self.private_bundle(name)
        return None if bundle is None else ModelInfo.of(bundle)

    def private_bundle(self, name: str) -> Bundle | None:
        """Return the bundle of a private taught model; None where there is none of that name.

        Raises:
            BundleError: Its model folder is missing or damaged.
        """
        record = self._taught.find(name)
        return None if record is None else self._private_bundle(record)

    def refresh_live(self) -> None:
        """Read the live revisions again, without loading any model."""
        self._live = self._read_live()

    def live(self) -> Mapping[str, LiveRevision]:
        """Return the live and last good revisions by model."""
        return self._now_live()

    def is_live(self, name: str, revision: str) -> bool:
        """Return whether a revision is the promoted one, not a fallback for it."""
        row = self._now_live().get(name)
        if row is None or row.revision != BUNDLED:
            return row is not None and row.revision == revision
        try:
            bundled = self.bundled(name)
        except BundleError:
            return False
        return bundled is not None and bundled.revision == revision

    def loaded(self) -> list[str]:
        """List the names of the loaded models."""
        return sorted(self._classifiers)

    def add_failure_listener(self, listener: FailureListener) -> None:
        """Call a function for each failure from now on that is also logged as an error.

        Args:
            listener: Gets the message: a live revision cannot be loaded, or the database with the
                live revisions is not available.
        """
        self._listeners.append(listener)

    def remove_failure_listener(self, listener: FailureListener) -> None:
        """Undo `add_failure_listener`."""
        self._listeners.remove(listener)

    def report(self, problem: str) -> None:
        """Log a problem with a model as an error, and tell the failure listeners, once."""
        self._log_once(problem)

    def watch(self) -> None:
        """Start a thread that applies promotions and rollbacks within a second, until `close`."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """Stop the watcher thread and close the database."""
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._store is not None:
            self._store.close()

    def refresh(self) -> None:
        """Read the live revisions and load those that changed.

        Concurrent calls of `load` return the previous classifier until the new one is loaded.
        """
        self._live = self._read_live()
        for name in sorted({*self._classifiers, *self._live}):
            try:
                self._refresh(name)
            except Exception as error:  # noqa: BLE001  # one model must not keep the others stale
                self._log_once(f"{name} was not refreshed, the loaded revision is kept: {error}")

    def _load_private(self, name: str) -> Classifier:
        """Return the classifier of a private taught model in the revision of its record."""
        record = self._taught.find(name)
        if record is None:
            self._private.pop(name, None)
            raise self._not_found(name)
        with self._locks[name]:
            loaded = self._private.get(name)
            if loaded is None or loaded.revision != record.revision:
                loaded = self._loader.load(self._private_bundle(record))
            self._private[name] = loaded
            with suppress(KeyError):  # another thread may have removed it
                self._private.move_to_end(name)
        while len(self._private) > _MAX_PRIVATE:
            oldest, _ = self._private.popitem(last=False)
            self._locks.pop(oldest, None)
        return loaded

    def _private_bundle(self, record: TaughtRecord) -> Bundle:
        found = self._revisions.find(record.id, record.revision)
        if found is None:
            raise BundleError(f"The files of {record.id} are missing. Teach it again.")
        return found

    def _refresh(self, name: str) -> None:
        row = self._now_live().get(name)
        before, not_before = self._applied.get(name, (None, 0.0))
        if name in self._applied and before == row and time.monotonic() < not_before:
            return
        self._applied[name] = row, time.monotonic() + self._timings.retry_s
        self._classifiers[name], first_choice = self._loaded(name)
        if first_choice:
            self._applied[name] = row, math.inf

    def _watch(self) -> None:
        while not self._closed.wait(self._timings.poll_s):
            self.refresh()

    def _loaded(self, name: str) -> tuple[Classifier, bool]:
        """Load the first candidate that can be loaded, and tell whether it is the first one.

        Raises:
            ModelNotFoundError: There is no candidate.
            BundleError: No candidate can be loaded.
        """
        problem: BundleError | None = None
        for found in self._candidates(name):
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
                self._log_once(f"{name} cannot be loaded: {error}")
        raise problem or self._not_found(name)

    def _candidates(self, name: str) -> Iterator[Bundle | BundleError]:
        """Yield a model's live, last good and bundled bundles in that order, or their errors."""
        row = self._now_live().get(name)
        wanted = [row.revision, row.last_good] if row is not None else []
        for revision in dict.fromkeys([*wanted, BUNDLED]):
            if revision is None:
                continue
            try:
                if revision == BUNDLED:
                    found = self.bundled(name)
                else:
                    found = self._revisions.find(name, revision)
                    if found is None:
                        yield BundleError(
                            f"Revision {revision} of {name} is not installed. Install it with "
                            "`tensight models pull`."
                        )
                if found is not None:
                    yield found
            except BundleError as error:
                yield error

    def _model(self, name: str) -> ModelInfo | None:
        """Describe the loaded revision, or the first readable candidate; None without any."""
        loaded = self._classifiers.get(name)
        candidates = list(self._candidates(name))
        if loaded is not None:
            candidates.sort(
                key=lambda each: isinstance(each, BundleError) or each.revision != loaded.revision
            )
        for found in candidates:
            try:
                if isinstance(found, BundleError):
                    raise found
                # The files are read again where either has changed or was removed.
                stamp = _changed(found.folder / CONFIG, found.folder / METRICS)
                before, known = self._known.get(found.folder, (None, None))
                if known is None or before is None or before != stamp:
                    known = ModelInfo.of(found)
                    self._known[found.folder] = stamp, known
                return known
            except BundleError as error:
                self._log_once(f"{name} is not listed, or falls back to another revision: {error}")
        return None

    def _names(self) -> list[str]:
        bundled = {folder.name for folder in find_bundles(self._settings.models)}
        return sorted(bundled | set(self._now_live()))

    def _refuse_unknown(self, name: str) -> None:
        """Raise for an unknown name.

        Names come from untrusted requests: a path as a name must not open other folders.

        Raises:
            ModelNotFoundError: There is no model of that name.
        """
        if name not in self._names():
            raise self._not_found(name)

    def _now_live(self) -> Mapping[str, LiveRevision]:
        if self._live is None:
            self._live = self._read_live()
        return self._live

    def _read_live(self) -> Mapping[str, LiveRevision]:
        """Read the live revisions from the database.

        Where the database is not available, the last known ones are returned and an error is
        logged.
        """
        if self._store is None and not self._settings.has_database():
            return {}
        from core.store.store import Store  # noqa: PLC0415  # a slow import that few callers need

        try:
            if self._store is None:
                self._store = Store.find(self._settings)
            live = self._store.live.all() if self._store is not None else {}
        except StoreError as error:
            self._log_once(str(error))
            return self._live or {}
        # The database is available again, so its next failure is logged again.
        self._logged = {each for each in self._logged if "database" not in each}
        return live

    def _log_once(self, problem: str) -> None:
        """Log an error message and call the listeners, once for each message."""
        if problem in self._logged:
            return
        self._logged.add(problem)
        logger.error(problem)
        for listener in list(self._listeners):
            try:
                listener(problem)
            except Exception:
                logger.exception("A listener for model failures failed")

    def _not_found(self, name: str) -> ModelNotFoundError:
        names = ", ".join(self._names()) or "none"
        if any(model.name == name for model in read_unbundled(self._settings.models)):
            return ModelNotFoundError(
                f"The model {name!r} cannot be loaded: only its metrics are stored, not its "
                f"weights. Available models: {names}."
            )
        return ModelNotFoundError(f"There is no model {name!r}. Available models: {names}.")


def _changed(*files: Path) -> _Stamp | None:
    """Return modification times and sizes of files; None where one does not exist."""
    try:
        stats = [file.stat() for file in files]
    except (OSError, ValueError):  # ValueError: a name may contain a null byte
        return None
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
