"""Which models there are, and which revision of each is live."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle.config import CONFIG, METRICS
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.leaderboard import Result, read_unbundled
from core.bundle.metrics import Metrics
from core.errors import BundleError, ModelNotFoundError, StoreError
from core.inference.classifier import Classifier
from core.registry.revisions import Revisions
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import Live
    from core.store.store import Store

__all__ = ["Catalog", "Entry"]

_BEST_FOR_PHOTOS = ("mobilenet", "scratch", "classic")
_WATCH_S = 0.25
_RETRY_S = 5.0

logger = logging.getLogger(__name__)


_Stamp = tuple[tuple[int, int], ...]


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
    """The models in the folder of the settings, and the revisions that were made live of them.

    Each is loaded once, on first use. A live revision that cannot be loaded is answered for by the
    last good one, else by the bundled one; that is logged as an error.

    Args:
        settings: `models`, `model`, `threads`, `home` and `database_url` are used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._revisions = Revisions(settings.home)
        self._classifiers: dict[str, Classifier] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        # What was read of folders that have not changed since.
        self._known: dict[Path, tuple[_Stamp | None, Entry]] = {}
        self._opened: dict[Path, tuple[_Stamp, Bundle]] = {}
        self._store: Store | None = None
        self._live: Mapping[str, Live] | None = None
        # The row of the live table that was last looked at, and when to look at the same one again:
        # never, where its first choice answers.
        self._looked: dict[str, tuple[Live | None, float]] = {}
        self._told: set[str] = set()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def entries(self) -> list[Entry]:
        """All models that can be read, by name, each in its live revision; others are logged."""
        return [entry for name in self._names() if (entry := self._entry(name)) is not None]

    def results(self) -> list[Result]:
        """Figures of all models that can be read, also of those whose weights are not kept."""
        kept = [Result(e.bundle.config, e.metrics, e.bundle.revision) for e in self.entries()]
        try:
            return kept + read_unbundled(self._settings.models)
        except BundleError as error:
            logger.warning("Left out: %s", error)
            return kept

    def problems(self) -> dict[str, BundleError | None]:
        """Check every file of every model folder, and load it: what it is -> what is wrong.

        The bundled ones by their name; those that were brought here by name and revision. And what
        is live or the last good one, and not here.
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
                        "it is live or the last good one, and not here. `tensight models pull` "
                        "brings it."
                    )
        for what, folder in folders.items():
            problems[what] = None
            try:
                bundle = Bundle.open(folder)
                bundle.verify()
                bundle.metrics()
                Classifier(bundle, threads=1)
            except BundleError as error:
                problems[what] = error
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
        names = [entry.name for entry in self.entries()]
        if not names:
            raise ModelNotFoundError(
                f"There is no good model in {self._settings.models}. Train one with "
                "`tensight train classic`, name a folder with models in TENSIGHT_MODELS, or bring "
                "some here with `tensight models pull`."
            )
        return next((name for name in _BEST_FOR_PHOTOS if name in names), names[0])

    def bundle(self, name: str) -> Bundle:
        """The folder of a model's live revision.

        Raises:
            ModelNotFoundError: No model of that name.
            BundleError: Its config.json is missing or wrong.
        """
        self._refuse_unknown(name)
        problem: BundleError | None = None
        for found in self._candidates(name):
            if isinstance(found, Bundle):
                return found
            problem = problem or found
        raise problem or self._not_found(name)

    def bundled(self, name: str) -> Bundle | None:
        """The folder of a model in the folder of the settings; None where there is none.

        Raises:
            BundleError: Its config.json is wrong.
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
        """The classifier of a model's live revision; None: of the default model.

        Raises:
            ModelNotFoundError: No model of that name.
            BundleError: Its folder is damaged.
        """
        name = self.default() if name is None else name
        # Without the lock: who asks for a model that is there does not wait for another's loading.
        loaded = self._classifiers.get(name)
        if loaded is not None:
            return loaded
        self._refuse_unknown(name)
        with self._locks[name]:
            if name not in self._classifiers:
                self._classifiers[name], _ = self._loaded(name)
            return self._classifiers[name]

    def live(self) -> Mapping[str, Live]:
        """What was made live, by model."""
        return self._now_live()

    def is_live(self, name: str, revision: str) -> bool:
        """Whether a revision of a model is the one that was made live, and not one in its place."""
        row = self._now_live().get(name)
        if row is None or row.revision != BUNDLED:
            return row is not None and row.revision == revision
        try:
            bundled = self.bundled(name)
        except BundleError:
            return False
        return bundled is not None and bundled.revision == revision

    def loaded(self) -> list[str]:
        """Names of the models that are loaded."""
        return sorted(self._classifiers)

    def watch(self) -> None:
        """From now on swap in what is made live, within a second, until `close`."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._store is not None:
            self._store.close()

    def refresh(self) -> None:
        """Read what is live, and load what has changed; who asks meanwhile gets the old one."""
        self._live = self._read_live()
        for name in sorted({*self._classifiers, *self._live}):
            try:
                self._refresh(name)
            except Exception as error:  # noqa: BLE001  # the others are looked at all the same
                self._tell(f"{name} stays as it is: {error}")

    def _refresh(self, name: str) -> None:
        row = self._now_live().get(name)
        before, not_before = self._looked.get(name, (None, 0.0))
        if name in self._looked and before == row and time.monotonic() < not_before:
            return
        self._looked[name] = row, time.monotonic() + _RETRY_S
        self._classifiers[name], first_choice = self._loaded(name)
        if first_choice:
            self._looked[name] = row, math.inf

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_S):
            self.refresh()

    def _loaded(self, name: str) -> tuple[Classifier, bool]:
        """The first candidate that can be loaded, and whether it is the first of all."""
        problem: BundleError | None = None
        for found in self._candidates(name):
            try:
                if isinstance(found, BundleError):
                    raise found
                found.metrics()
                old = self._classifiers.get(name)
                if old is not None and old.revision == found.revision:
                    return old, problem is None
                return Classifier(found, threads=self._settings.threads), problem is None
            except BundleError as error:
                problem = problem or error
                self._tell(f"{name} cannot be loaded: {error}")
        raise problem or self._not_found(name)

    def _candidates(self, name: str) -> Iterator[Bundle | BundleError]:
        """The live revision of a model, the last good one, the bundled one; as far as they are."""
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
                            f"Revision {revision} of {name} is not here. `tensight models pull` "
                            "brings it."
                        )
                if found is not None:
                    yield found
            except BundleError as error:
                yield error

    def _entry(self, name: str) -> Entry | None:
        """What answers, where it is loaded; else the first candidate that can be read."""
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
                # Read again where either file has changed, or is gone.
                stamp = _changed(found.folder / CONFIG, found.folder / METRICS)
                before, known = self._known.get(found.folder, (None, None))
                if known is None or before is None or before != stamp:
                    known = Entry(found, found.metrics())
                    self._known[found.folder] = stamp, known
                return known
            except BundleError as error:
                self._tell(f"{name} is left out, or answered for by another revision: {error}")
        return None

    def _names(self) -> list[str]:
        bundled = {folder.name for folder in find_bundles(self._settings.models)}
        return sorted(bundled | set(self._now_live()))

    def _refuse_unknown(self, name: str) -> None:
        """Names come from anywhere: one that is a path must not lead to other folders."""
        if name not in self._names():
            raise self._not_found(name)

    def _now_live(self) -> Mapping[str, Live]:
        if self._live is None:
            self._live = self._read_live()
        return self._live

    def _read_live(self) -> Mapping[str, Live]:
        """What is live, as the database has it; nothing where it cannot be used."""
        if self._store is None and not self._settings.has_database():
            return {}
        from core.store.store import Store  # noqa: PLC0415  # takes a while, and few need it

        try:
            if self._store is None:
                self._store = Store.find(self._settings)
            live = self._store.live.all() if self._store is not None else {}
        except StoreError as error:
            self._tell(str(error))
            return self._live or {}
        # It can be used again: when it next cannot, that is told again.
        self._told = {each for each in self._told if "database" not in each}
        return live

    def _tell(self, problem: str) -> None:
        """Log an error, once."""
        if problem not in self._told:
            self._told.add(problem)
            logger.error(problem)

    def _not_found(self, name: str) -> ModelNotFoundError:
        names = ", ".join(self._names()) or "none"
        for result in read_unbundled(self._settings.models):
            if result.config.name == name:
                return ModelNotFoundError(
                    f"Of the model {name!r} only figures are kept, no weights. Models here: "
                    f"{names}."
                )
        return ModelNotFoundError(f"There is no model {name!r}. Models here: {names}.")


def _changed(*files: Path) -> _Stamp | None:
    """When files last changed, and their sizes; None where one is not there."""
    try:
        stats = [file.stat() for file in files]
    except (OSError, ValueError):  # a name may hold what no path can
        return None
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
