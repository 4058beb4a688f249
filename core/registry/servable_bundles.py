"""The bundles of each model that may serve, in order of preference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.bundle.config import CONFIG, METRICS
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.leaderboard import ModelInfo, read_unbundled
from core.errors import BundleError, ModelNotFoundError
from core.redaction import without_credentials
from core.registry.live_revisions import LiveRevisions
from core.registry.revisions import RevisionStore

__all__ = ["ServableBundles"]

_Stamp = tuple[tuple[int, int], ...]


class ServableBundles:
    """Finds the bundles of a model that may serve: live, last good and bundled, in that order.

    What was read of a bundle is cached until the modification time or size of its files changes.

    Args:
        models: TENSIGHT_MODELS, the folder of the bundled models.
        revisions: Installed revisions.
        live: Live and last good revisions.
    """

    def __init__(self, models: Path, revisions: RevisionStore, live: LiveRevisions) -> None:
        self._models = models
        self._revisions = revisions
        self._live = live
        # By folder.
        self._infos: dict[Path, tuple[_Stamp | None, ModelInfo]] = {}
        self._bundles: dict[Path, tuple[_Stamp, Bundle]] = {}

    def names(self) -> list[str]:
        """List the names of all models that have a bundled or a live revision, sorted."""
        bundled = {folder.name for folder in find_bundles(self._models)}
        return sorted(bundled | set(self._live.all()))

    def check_exists(self, name: str) -> None:
        """Check that there is a model of a name.

        Names come from untrusted requests: a path as a name must not open other folders.

        Raises:
            ModelNotFoundError: There is none.
        """
        if name not in self.names():
            raise self.not_found(name)

    def not_found(self, name: str) -> ModelNotFoundError:
        """Return the error that there is no model of a name, which lists those that there are."""
        names = ", ".join(self.names()) or "none"
        if any(model.name == name for model in read_unbundled(self._models)):
            return ModelNotFoundError(
                f"The model {name!r} cannot be loaded: only its metrics are stored, not its "
                f"weights. Available models: {names}."
            )
        shown = without_credentials(name)  # of a token that was pasted into TENSIGHT_MODEL
        return ModelNotFoundError(f"There is no model {shown!r}. Available models: {names}.")

    def of(self, name: str) -> Iterator[Bundle | BundleError]:
        """Yield a model's live, last good and bundled bundles in that order, or their errors."""
        row = self._live.all().get(name)
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

    def bundled(self, name: str) -> Bundle | None:
        """Open the bundled revision of a model; None where there is none.

        Raises:
            BundleError: Its config.json is invalid.
        """
        folder = self._models / name
        stamp = _stamp(folder / CONFIG)
        if stamp is None:
            return None
        before, bundle = self._bundles.get(folder, (None, None))
        if bundle is None or before != stamp:
            bundle = Bundle.open(folder)
            self._bundles[folder] = stamp, bundle
        return bundle

    def find(self, name: str, revision: str) -> Bundle | None:
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

    def is_live(self, name: str, revision: str) -> bool:
        """Return whether a revision is the promoted one, not a fallback for it."""
        row = self._live.all().get(name)
        if row is None or row.revision != BUNDLED:
            return row is not None and row.revision == revision
        try:
            bundled = self.bundled(name)
        except BundleError:
            return False
        return bundled is not None and bundled.revision == revision

    def info(self, bundle: Bundle) -> ModelInfo:
        """Return configuration and metrics of a bundle.

        Raises:
            BundleError: Its metrics.json is missing or invalid.
        """
        stamp = _stamp(bundle.folder / CONFIG, bundle.folder / METRICS)
        before, info = self._infos.get(bundle.folder, (None, None))
        if info is None or before is None or before != stamp:
            info = ModelInfo.of(bundle)
            self._infos[bundle.folder] = stamp, info
        return info


def _stamp(*files: Path) -> _Stamp | None:
    """Return modification times and sizes of files; None where one does not exist."""
    try:
        stats = [file.stat() for file in files]
    except (OSError, ValueError):  # ValueError: a name may contain a null byte
        return None
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
