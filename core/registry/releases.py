"""Release management: pull, promote, roll back, push and garbage-collect model revisions.

A promotion is stored in the database; `core.registry.live_classifiers` applies it in each process.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from core.bundle.config import CARD, CONFIG, METRICS, MODEL
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.leaderboard import ModelInfo
from core.errors import BundleError, HubError, ModelNotFoundError
from core.registry import hub
from core.registry.bases import Bases
from core.registry.hub import Commit
from core.registry.repository import models_in
from core.registry.revisions import RevisionStore, StoredRevision
from core.registry.taught import TaughtStore, is_private
from core.registry.trial import try_bundle
from core.settings import Settings
from core.store.live import HubSource, LiveRevision, ShownState
from core.store.store import Store

__all__ = ["Releases", "RemoteModel"]

_MIN_PREFIX = 4  # digits
_PUBLISHER = (
    "If trying again does not help, its publisher must publish it again; until then, pull another "
    "--revision."
)


@dataclass(frozen=True)
class RemoteModel:
    """A model in a repository on the Hub.

    Attributes:
        info: Configuration, metrics and revision.
        installed: Whether this revision is installed.
    """

    info: ModelInfo
    installed: bool


class Releases:
    """The revisions of the models, and which of them are live.

    Safe to share between threads.

    Args:
        settings: `home`, `models`, `database_url`, `hub_repo`, `hub_revision` and `hub_token` are
            used.
        store: The database; None to open that of the settings when it is first needed.
        operator: Operator of promotions and rollbacks for the audit log; None where the caller
            records them.
    """

    def __init__(
        self, settings: Settings, store: Store | None = None, *, operator: str | None = None
    ) -> None:
        self._settings = settings
        self._revisions = RevisionStore(settings.home)
        self._bases = Bases(settings.models, self._revisions)
        self._store = store
        self._operator = operator
        self._is_own = store is None
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close the database, unless it was passed in."""
        with self._opening:
            if self._is_own and self._store is not None:
                self._store.close()
                self._store = None

    def installed(self) -> list[StoredRevision]:
        """List all readable installed revisions, sorted by model and date.

        Private taught models are not listed, and can be neither promoted nor pushed.
        """
        return [each for each in self._revisions.all() if not is_private(each.bundle.config.name)]

    def is_installed(self, name: str, revision: str) -> bool:
        """Return whether a revision of a model is installed, or `bundled`."""
        return revision == BUNDLED or self._revisions.path(name, revision).is_dir()

    def live(self) -> Mapping[str, LiveRevision]:
        """Return the live and last good revisions by model; empty where none was ever promoted.

        Raises:
            StoreError: The database is not available.
        """
        store = self._find_store()
        return {} if store is None else store.live.all()

    def sources(self) -> Mapping[str, HubSource]:
        """Return the Hub commits of promoted revisions, where they were recorded.

        Raises:
            StoreError: The database is not available.
        """
        store = self._find_store()
        return {} if store is None else store.live.sources()

    def pull(
        self,
        *,
        repo: str | None = None,
        revision: str | None = None,
        live: Literal["no", "all", "first"] = "no",
        timeout_s: float = hub.TIMEOUT_S,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[StoredRevision]:
        """Download and install all models of a repository, without promoting them by default.

        Each model is verified against the commit's tree and its own config.json, and loaded in a
        subprocess, before any is installed; if that fails, nothing is changed. If only the
        promotion fails, the models stay installed and the live revisions are unchanged.

        Args:
            repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
            revision: Branch, tag or commit; None for TENSIGHT_HUB_REVISION.
            live: Which of the models to promote, in one transaction: `no`, `all`, or `first`, those
                of which no revision was ever promoted.
            timeout_s: Timeout in seconds for resolving the revision.
            progress: Called with the number of bytes downloaded and the total.

        Returns:
            The installed revisions of that commit.

        Raises:
            HubError: The Hub cannot be reached or refuses access, or the repository is not usable.
            BundleError: A model is corrupt or cannot be loaded.
            OutputError: TENSIGHT_HOME cannot be written.
            StoreError: The models cannot be promoted.
        """
        commit = hub.resolve_commit(
            self._repo(repo),
            revision or self._settings.hub_revision,
            token=self._settings.hub_token,
            timeout_s=timeout_s,
        )
        models = models_in(commit)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        with self._revisions.staging() as staging:
            hub.fetch(
                commit,
                [file for each in models.values() for file in each],
                into=staging,
                cache=self._cache,
                token=self._settings.hub_token,
                progress=progress,
            )
            drafts = [
                StoredRevision(each, commit.repo, commit.sha, date)
                for each in self._open_and_try([staging / name for name in models], commit)
            ]
            with self._revisions.changing():
                pulled = [replace(draft, bundle=self._revisions.add(draft)) for draft in drafts]
                if live != "no":
                    chosen = {each.bundle.config.name: each.bundle.revision for each in pulled}
                    self._make_live(chosen, first=live == "first")
        return pulled

    def promote(self, name: str, revision: str, *, shown: ShownState | None = None) -> str:
        """Make an installed revision live; running processes switch to it within a second.

        Args:
            name: Name of the model.
            revision: Revision as `tensight models list` shows it, a unique prefix of at least 4
                digits, or `bundled`.
            shown: State of the model that was shown to the operator who confirmed it; None to
                accept any.

        Returns:
            The full revision, or `bundled`.

        Raises:
            ModelNotFoundError: The revision is not installed, or the prefix is ambiguous.
            BundleError: The revision is damaged.
            OutputError: TENSIGHT_HOME cannot be written.
            ChangedError: The state differs from `shown`.
            StoreError: The database is not available.
        """
        with self._revisions.changing():
            found = self.resolve_revision(name, revision)
            self._make_live({name: found}, shown=shown)
        return found

    def resolve_revision(self, name: str, revision: str) -> str:
        """Resolve a revision prefix to an installed revision, and verify that one.

        Args:
            name: Name of the model.
            revision: As for `promote`.

        Returns:
            The full revision, or `bundled`.

        Raises:
            ModelNotFoundError: The revision is not installed, or the prefix is ambiguous.
            BundleError: The revision is damaged, or its base is missing.
        """
        is_bundled = any(folder.name == name for folder in find_bundles(self._settings.models))
        if revision == BUNDLED and is_bundled:
            bundled = Bundle.open(self._settings.models / name)
            bundled.verify()
            self._bases.of(bundled)
            return BUNDLED
        there = {
            each.bundle.revision: each.bundle
            for each in self.installed()
            if each.bundle.config.name == name
        }
        known = ", ".join([*there, *([BUNDLED] if is_bundled else [])]) or "none"
        if len(revision) < _MIN_PREFIX:
            raise ModelNotFoundError(
                f"Revision {revision!r} is too short; give at least {_MIN_PREFIX} digits. "
                f"Installed revisions of {name}: {known}."
            )
        matches = [bundle for full, bundle in there.items() if full.startswith(revision)]
        if len(matches) != 1:
            problem = "is ambiguous" if matches else "is not installed"
            raise ModelNotFoundError(
                f"Revision {revision} of {name} {problem}. Installed revisions of {name}: {known}. "
                "Install more with `tensight models pull`."
            )
        matches[0].verify()
        self._bases.of(matches[0])
        return matches[0].revision

    def roll_back(self, name: str, *, expected: LiveRevision | None = None) -> LiveRevision:
        """Swap the live and the last good revision of a model.

        Args:
            name: Name of the model.
            expected: State before the swap, as it was shown to the operator who confirmed it;
                None to accept any.

        Returns:
            The state after the swap.

        Raises:
            ModelNotFoundError: The last good revision is no longer installed.
            BundleError: The last good revision is damaged.
            OutputError: TENSIGHT_HOME cannot be written.
            ChangedError: The state differs from `expected`.
            StoreError: There is no last good revision, or the database is not available.
        """
        with self._revisions.changing():
            store = self._open_store()
            row = store.live.all().get(name)
            if row is not None and row.last_good is not None:
                self.resolve_revision(name, row.last_good)
            return store.live.roll_back(
                name, self._bundled().get(name), expected=expected, operator=self._operator
            )

    def push(
        self,
        *,
        repo: str | None,
        tag: str | None,
        message: str,
        private: bool = False,
        bars: bool = False,
        names: Sequence[str] = (),
    ) -> str:
        """Publish models with their cards; the repository is created if needed.

        Args:
            repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
            tag: Tag to create for the commit; None for no tag.
            message: Commit message.
            private: Whether a newly created repository is private.
            bars: Whether to show progress bars on stderr.
            names: The models to publish, each in its live revision, or else in the one that was
                installed last, and the bases of those that were taught; empty for all bundled
                models.

        Returns:
            Commit hash, 40 hex digits.

        Raises:
            ModelNotFoundError: There is no model to publish, or none of that name.
            BundleError: A model is damaged; nothing was uploaded.
            HubError: The Hub cannot be reached or refuses access; the message says what was done
                until then.
        """
        where = self._repo(repo)
        with tempfile.TemporaryDirectory(prefix="tensight-push-") as scratch:
            if names:
                models = Path(scratch)
                self._collect(names, models)
            else:
                models = self._settings.models
            return hub.publish(
                models,
                self._publishable(models),
                where,
                token=self._settings.hub_token,
                message=message,
                tag=tag,
                private=private,
                bars=bars,
            )

    def _collect(self, names: Sequence[str], into: Path) -> None:
        """Copy models and their bases to a folder."""
        for name in names:
            bundle = self._live_or_newest(name)
            for each in (bundle, self._bases.of(bundle)):
                if each is not None and not (into / each.config.name).exists():
                    (into / each.config.name).mkdir()
                    for file in (CONFIG, *each.config.sha256):
                        shutil.copyfile(each.folder / file, into / each.config.name / file)

    def _live_or_newest(self, name: str) -> Bundle:
        """Return a model's live revision, or else the one that was installed last, or bundled.

        Raises:
            ModelNotFoundError: There is no model of that name.
            BundleError: The revision is damaged.
        """
        row = self.live().get(name)
        installed = [each.bundle for each in self.installed() if each.bundle.config.name == name]
        wanted = row.revision if row is not None else None
        if wanted is None and installed:
            return installed[-1]
        for bundle in installed:
            if bundle.revision == wanted:
                return bundle
        if any(folder.name == name for folder in find_bundles(self._settings.models)):
            return Bundle.open(self._settings.models / name)
        raise ModelNotFoundError(
            f"There is no model {name!r} to publish. `tensight models list` names the models."
        )

    def _publishable(self, models: Path) -> list[str]:
        """Verify and try all models of a folder, and return the files to publish.

        Raises:
            ModelNotFoundError: There is no model in the folder.
            BundleError: A model is damaged.
        """
        folders = [f for f in sorted(models.glob("[!.]*")) if f.is_dir()]
        if not folders:
            raise ModelNotFoundError(
                f"There is no model to publish in {models}. Set TENSIGHT_MODELS to a folder with "
                "models."
            )
        files = [f.name for f in sorted(models.glob("[!.]*")) if f.suffix in (".md", ".json")]
        for folder in folders:
            try:
                bundle = Bundle.open(folder)
                bundle.read(CARD)
                try_bundle(bundle, self._bases.of(bundle))
            except BundleError as error:
                raise BundleError(
                    f"Nothing was uploaded: {error} Train or export that model again, or remove it "
                    f"from {models}."
                ) from error
            files += [f"{folder.name}/{name}" for name in (CONFIG, *bundle.config.sha256)]
        return files

    def list_remote(
        self, *, repo: str | None = None, revision: str | None = None
    ) -> list[RemoteModel]:
        """List the models of a repository; only config.json and metrics.json are downloaded.

        Args:
            repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
            revision: Branch, tag or commit; None for TENSIGHT_HUB_REVISION.

        Raises:
            HubError: The Hub cannot be reached or refuses access, or the repository is not usable.
            BundleError: A model's config.json or metrics.json is invalid.
        """
        commit = hub.resolve_commit(
            self._repo(repo),
            revision or self._settings.hub_revision,
            token=self._settings.hub_token,
        )
        models = models_in(commit)
        wanted = [
            file
            for each in models.values()
            for file in each
            if file.path.rpartition("/")[2] in (CONFIG, METRICS)
        ]
        found = []
        with self._revisions.staging() as staging:
            hub.fetch(
                commit,
                wanted,
                into=staging,
                cache=self._cache,
                token=self._settings.hub_token,
            )
            for name in models:
                info = ModelInfo.of(Bundle.open(staging / name))
                here = info.revision is not None and self.is_installed(name, info.revision)
                found.append(RemoteModel(info, here))
        return found

    def gc(self) -> tuple[list[str], int]:
        """Delete installed revisions that nothing needs, and the download cache.

        Live and last good revisions are kept, and both revisions of active rollouts. Private taught
        models are kept, and the bases of all taught models that are kept or bundled. The training
        data of a taught model is deleted with its last revision. The cache is kept while another
        process pulls, since that process may still need it.

        Returns:
            The deleted revisions and the number of bytes freed.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
            StoreError: The live revisions cannot be read.
        """
        with self._revisions.changing():
            live = self.live().values()
            kept = {revision for row in live for revision in (row.revision, row.last_good)}
            kept |= self._rollout_revisions()
            taught = TaughtStore(self._settings.home)
            kept |= {record.revision for record in taught.all()}
            kept |= self._needed_bases(kept)
            gone = [folder for folder in self._revisions.folders() if folder.name not in kept]
            freed = sum(self._revisions.remove(folder) for folder in gone)
            left = {each.config.name for each in self._revisions.bundles()}
            for name in taught.public_names():
                if name not in left:
                    taught.remove(name)
            for folder in [] if self._revisions.staged() else self._cache.glob("models--*"):
                freed += sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())
                shutil.rmtree(folder, ignore_errors=True)
        return [folder.name for folder in gone], freed

    def _rollout_revisions(self) -> set[str | None]:
        """Return the revisions that active rollouts compare."""
        store = self._find_store()
        active = [] if store is None else store.rollouts.active()
        return {revision for each in active for revision in (each.candidate, each.live)}

    def _open_and_try(self, folders: Sequence[Path], commit: Commit) -> list[Bundle]:
        """Open downloaded model folders, and load and run each model in a subprocess.

        Raises:
            BundleError: A model is corrupt or cannot be used, or its base is missing.
        """
        bundles = []
        for folder in folders:
            with _reported_as_rejected(folder.name, commit):
                bundles.append(Bundle.open(folder))
        # The base of a taught model may come with it.
        for bundle in bundles:
            with _reported_as_rejected(bundle.config.name, commit):
                try_bundle(bundle, self._bases.of(bundle, bundles))
        return bundles

    @property
    def _cache(self) -> Path:
        return self._settings.home / "hub"

    def _repo(self, repo: str | None) -> str:
        found = repo or self._settings.hub_repo
        if found is None:
            raise HubError(
                "No repository is set. Give --repo OWNER/NAME, or set TENSIGHT_HUB_REPO."
            )
        return found

    def _needed_bases(self, kept: Collection[str | None]) -> set[str]:
        """Return the revisions that hold the bases of taught models.

        Args:
            kept: Revisions whose bases are needed, beside those of bundled models.
        """
        installed = list(self._revisions.bundles())
        needing = [each.config.base for each in installed if each.revision in kept]
        for folder in find_bundles(self._settings.models):
            with suppress(BundleError):
                needing.append(Bundle.open(folder).config.base)
        needed = {base.sha256 for base in needing if base is not None}
        return {each.revision for each in installed if each.config.sha256.get(MODEL) in needed}

    def _make_live(
        self, revisions: Mapping[str, str], *, first: bool = False, shown: ShownState | None = None
    ) -> None:
        origins = {
            each.bundle.revision: HubSource(each.repo, each.commit)
            for each in self._revisions.all()
            if each.bundle.revision in revisions.values()
            and each.repo is not None
            and each.commit is not None
        }
        self._open_store().live.promote(
            revisions,
            self._bundled(),
            first=first,
            origins=origins,
            shown=shown,
            operator=self._operator,
        )

    def _bundled(self) -> dict[str, str]:
        """Return the revisions of the bundled models; an impossible name for a damaged one."""
        found = {}
        for folder in find_bundles(self._settings.models):
            try:
                found[folder.name] = Bundle.open(folder).revision
            except BundleError:
                found[folder.name] = BUNDLED
        return found

    def _open_store(self) -> Store:
        """Return the database, which is created where there is none."""
        with self._opening:
            if self._store is None:
                self._store = Store.open(self._settings)
            return self._store

    def _find_store(self) -> Store | None:
        """Return the database; None where there is none yet."""
        with self._opening:
            if self._store is None:
                self._store = Store.find(self._settings)
            return self._store


@contextmanager
def _reported_as_rejected(name: str, commit: Commit) -> Iterator[None]:
    """Add to an error of a downloaded model that it was rejected, and what to do."""
    try:
        yield
    except BundleError as error:
        raise BundleError(
            f"{name} of {commit.repo} at {commit.sha[:12]} was rejected and nothing was "
            f"changed: {error} {_PUBLISHER}"
        ) from error
