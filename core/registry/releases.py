"""Release management: pull, promote, roll back, push and garbage-collect model revisions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from core.bundle.config import CARD, CONFIG, METRICS, MODEL, Config
from core.bundle.folder import BUNDLED, Bundle, find_bundles
from core.bundle.metrics import Metrics
from core.errors import BundleError, HubError, ModelNotFoundError, StoreError
from core.registry import hub
from core.registry.hub import Commit, RemoteFile
from core.registry.revisions import RevisionStore, StoredRevision
from core.settings import Settings
from core.store.live import HubSource, LiveRevision
from core.store.store import Store
from core.text import has_hidden, printable

__all__ = [
    "RemoteModel",
    "gc",
    "list_remote",
    "promote",
    "pull",
    "push",
    "resolve_revision",
    "roll_back",
]

_MAX_FILES = 1000
_MAX_PATH = 200  # characters
_MAX_BYTES = 2 * 2**30
_PROBE_S = 120
_MAX_QUOTED_CHARACTERS = 4000
_MAX_JSON_BYTES = 4 * 2**20
_SHORTEST_REVISION = 4
_PUBLISHER = (
    "If trying again does not help, its publisher must publish it again; until then, pull another "
    "--revision."
)


@dataclass(frozen=True)
class RemoteModel:
    """A model in a repository on the Hub.

    Attributes:
        config: Content of config.json.
        metrics: Content of metrics.json.
        revision: Revision of the bundle, 12 hex digits.
        here: Whether this revision is installed.
    """

    config: Config
    metrics: Metrics
    revision: str
    here: bool


def pull(
    settings: Settings,
    *,
    repo: str | None = None,
    revision: str | None = None,
    live: Literal["no", "all", "first"] = "no",
    patience_s: float = hub.PATIENCE_S,
    progress: Callable[[int, int], None] | None = None,
) -> list[StoredRevision]:
    """Download and install all models of a repository, without promoting them by default.

    Each model is verified against the commit's tree and its own config.json, and loaded in a
    subprocess, before any is installed; if that fails, nothing is changed. If only the promotion
    fails, the models stay installed and the live revisions are unchanged.

    Args:
        settings: `home`, `hub_repo`, `hub_revision`, `hub_token` and, for a promotion, `models` and
            `database_url` are used.
        repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
        revision: Branch, tag or commit; None for TENSIGHT_HUB_REVISION.
        live: Which of the models to promote, in one transaction: `no`, `all`, or `first`, those
            of which no revision was ever promoted.
        patience_s: Timeout in seconds for resolving the revision.
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
        _repo(settings, repo),
        revision or settings.hub_revision,
        token=settings.hub_token,
        patience_s=patience_s,
    )
    models = _models_of(commit)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    revisions = RevisionStore(settings.home)
    with revisions.staging() as staging:
        hub.fetch(
            commit,
            [file for each in models.values() for file in each],
            into=staging,
            cache=_cache(settings),
            token=settings.hub_token,
            progress=progress,
        )
        drafts = []
        for name in models:
            try:
                bundle = Bundle.open(staging / name)
                _probe(bundle)
            except BundleError as error:
                raise BundleError(
                    f"{name} of {commit.repo} at {commit.sha[:12]} was rejected and nothing was "
                    f"changed: {error} {_PUBLISHER}"
                ) from error
            drafts.append(StoredRevision(bundle, commit.repo, commit.sha, date))
        with revisions.changing():
            pulled = [replace(draft, bundle=revisions.add(draft)) for draft in drafts]
            if live != "no":
                chosen = {each.bundle.config.name: each.bundle.revision for each in pulled}
                _make_live(settings, chosen, first=live == "first")
    return pulled


def promote(settings: Settings, name: str, revision: str) -> str:
    """Make an installed revision live; running processes switch to it within a second.

    Args:
        settings: `home`, `models` and `database_url` are used.
        name: Name of the model.
        revision: Revision as `tensight models list` shows it, a unique prefix of at least 4 digits,
            or `bundled`.

    Returns:
        The full revision, or `bundled`.

    Raises:
        ModelNotFoundError: The revision is not installed, or the prefix is ambiguous.
        BundleError: The revision is damaged.
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: The database is not available.
    """
    with RevisionStore(settings.home).changing():
        found = resolve_revision(settings, name, revision)
        _make_live(settings, {name: found})
    return found


def resolve_revision(settings: Settings, name: str, revision: str) -> str:
    """Resolve a revision prefix to an installed revision, and verify that one.

    Args:
        settings: `home` and `models` are used.
        name: Name of the model.
        revision: As for `promote`.

    Returns:
        The full revision, or `bundled`.

    Raises:
        ModelNotFoundError: The revision is not installed, or the prefix is ambiguous.
        BundleError: The revision is damaged.
    """
    is_bundled = any(folder.name == name for folder in find_bundles(settings.models))
    if revision == BUNDLED and is_bundled:
        Bundle.open(settings.models / name).verify()
        return BUNDLED
    there = {
        each.bundle.revision: each.bundle
        for each in RevisionStore(settings.home).all()
        if each.bundle.config.name == name
    }
    known = ", ".join([*there, *([BUNDLED] if is_bundled else [])]) or "none"
    if len(revision) < _SHORTEST_REVISION:
        raise ModelNotFoundError(
            f"Revision {revision!r} is too short; give at least {_SHORTEST_REVISION} digits. "
            f"Installed revisions of {name}: {known}."
        )
    begin_so = [bundle for full, bundle in there.items() if full.startswith(revision)]
    if len(begin_so) != 1:
        problem = "is ambiguous" if begin_so else "is not installed"
        raise ModelNotFoundError(
            f"Revision {revision} of {name} {problem}. Installed revisions of {name}: {known}. "
            "Install more with `tensight models pull`."
        )
    begin_so[0].verify()
    return begin_so[0].revision


def roll_back(settings: Settings, name: str, *, seen: LiveRevision | None = None) -> LiveRevision:
    """Swap the live and the last good revision of a model.

    Args:
        settings: As for `promote`.
        name: Name of the model.
        seen: Expected state before the swap, as it was shown to the operator who confirmed it;
            None to accept any.

    Returns:
        The state after the swap.

    Raises:
        ModelNotFoundError: The last good revision is no longer installed.
        BundleError: The last good revision is damaged.
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: There is no last good revision, the state differs from `seen`, or the database
            is not available.
    """
    with RevisionStore(settings.home).changing():
        store = Store.open(settings)
        try:
            row = store.live.all().get(name)
            if seen is not None and row != seen:
                raise StoreError(
                    f"The rollback of {name} from {seen.revision} to {seen.last_good} was not "
                    "made: another revision was promoted in the meantime. Run `tensight models "
                    "list` to see which one is live, then decide again."
                )
            if row is not None and row.last_good is not None:
                resolve_revision(settings, name, row.last_good)
            return store.live.roll_back(name)
        finally:
            store.close()


def push(
    settings: Settings,
    *,
    repo: str | None,
    tag: str | None,
    message: str,
    private: bool = False,
    bars: bool = False,
) -> str:
    """Publish all bundled models with their cards; the repository is created if needed.

    Args:
        settings: `models`, `hub_repo` and `hub_token` are used.
        repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
        tag: Tag to create for the commit; None for no tag.
        message: Commit message.
        private: Whether a newly created repository is private.
        bars: Whether to show progress bars on stderr.

    Returns:
        Commit hash, 40 hex digits.

    Raises:
        ModelNotFoundError: There is no model to publish.
        BundleError: A model is damaged; nothing was uploaded.
        HubError: The Hub cannot be reached or refuses access; the message says what was done until
            then.
    """
    where = _repo(settings, repo)
    folders = [f for f in sorted(settings.models.glob("[!.]*")) if f.is_dir()]
    if not folders:
        raise ModelNotFoundError(
            f"There is no model to publish in {settings.models}. Set TENSIGHT_MODELS to a folder "
            "with models."
        )
    files = [f.name for f in sorted(settings.models.glob("[!.]*")) if f.suffix in (".md", ".json")]
    for folder in folders:
        try:
            bundle = Bundle.open(folder)
            bundle.read(CARD)
            _probe(bundle)
        except BundleError as error:
            raise BundleError(
                f"Nothing was uploaded: {error} Train or export that model again, or remove it "
                f"from {settings.models}."
            ) from error
        files += [f"{folder.name}/{name}" for name in (CONFIG, *bundle.config.sha256)]
    return hub.publish(
        settings.models,
        files,
        where,
        token=settings.hub_token,
        message=message,
        tag=tag,
        private=private,
        bars=bars,
    )


def list_remote(
    settings: Settings, *, repo: str | None = None, revision: str | None = None
) -> list[RemoteModel]:
    """List the models of a repository; only config.json and metrics.json are downloaded.

    Args:
        settings: As for `pull`.
        repo: Repository, `owner/name`; None for TENSIGHT_HUB_REPO.
        revision: Branch, tag or commit; None for TENSIGHT_HUB_REVISION.

    Raises:
        HubError: The Hub cannot be reached or refuses access, or the repository is not usable.
        BundleError: A model's config.json or metrics.json is invalid.
    """
    commit = hub.resolve_commit(
        _repo(settings, repo), revision or settings.hub_revision, token=settings.hub_token
    )
    models = _models_of(commit)
    wanted = [
        file
        for each in models.values()
        for file in each
        if file.path.rpartition("/")[2] in (CONFIG, METRICS)
    ]
    revisions = RevisionStore(settings.home)
    found = []
    with revisions.staging() as staging:
        hub.fetch(commit, wanted, into=staging, cache=_cache(settings), token=settings.hub_token)
        for name in models:
            bundle = Bundle.open(staging / name)
            here = revisions.path(name, bundle.revision).is_dir()
            found.append(RemoteModel(bundle.config, bundle.metrics(), bundle.revision, here))
    return found


def gc(settings: Settings) -> tuple[list[str], int]:
    """Delete installed revisions that are neither live nor last good, and the download cache.

    The cache is kept while another process pulls, since that process may still need it.

    Args:
        settings: `home` and `database_url` are used.

    Returns:
        The deleted revisions and the number of bytes freed.

    Raises:
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: The live revisions cannot be read.
    """
    revisions = RevisionStore(settings.home)
    with revisions.changing():
        store = Store.find(settings)
        live = store.live.all() if store is not None else {}
        if store is not None:
            store.close()
        kept = {revision for row in live.values() for revision in (row.revision, row.last_good)}
        gone = [folder for folder in revisions.folders() if folder.name not in kept]
        freed = sum(revisions.remove(folder) for folder in gone)
        for folder in [] if revisions.staged() else _cache(settings).glob("models--*"):
            freed += sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())
            shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in gone], freed


def _repo(settings: Settings, repo: str | None) -> str:
    found = repo or settings.hub_repo
    if found is None:
        raise HubError("No repository is set. Give --repo OWNER/NAME, or set TENSIGHT_HUB_REPO.")
    return found


def _cache(settings: Settings) -> Path:
    return settings.home / "hub"


def _models_of(commit: Commit) -> dict[str, list[RemoteFile]]:
    """Group the files of a commit by model folder, and check names, number and sizes.

    Files outside model folders are ignored.

    Raises:
        HubError: A path leaves its folder, there is no complete model, or a limit is exceeded.
    """
    for file in commit.files:
        if ".." in file.path.split("/") or "\\" in file.path or file.path.startswith("/"):
            raise HubError(
                f"{commit.repo} contains a file named {file.path!r}, which would be written "
                "outside its folder. Nothing was changed. Do not use this repository."
            )
        if has_hidden(file.path) or len(file.path) > _MAX_PATH:
            raise HubError(
                f"{commit.repo} holds a file named {printable(file.path)!r}, a name that is too "
                "long, or cannot be shown as it is. Nothing was changed. Do not use this "
                "repository."
            )
    parts = [(file, file.path.split("/")) for file in commit.files]
    names = sorted(
        path[0] for _, path in parts if len(path) == 2 and path[1] == CONFIG and path[0][0] != "."
    )
    models = {
        name: [file for file, path in parts if len(path) == 2 and path[0] == name] for name in names
    }
    if not models:
        raise HubError(
            f"{commit.repo} contains no model: none of its folders has a {CONFIG}. Publish models "
            "with `tensight models push`."
        )
    for name, files in models.items():
        if not any(file.path == f"{name}/{MODEL}" for file in files):
            raise HubError(f"{name} in {commit.repo} has no {MODEL}. Publish it again.")
    files = [file for each in models.values() for file in each]
    size = sum(file.size for file in files)
    if len(files) > _MAX_FILES or size > _MAX_BYTES:
        raise HubError(
            f"The models of {commit.repo} have {len(files):,} files and {size:,} bytes; the limits "
            f"are {_MAX_FILES:,} files and {_MAX_BYTES:,} bytes. Nothing was changed."
        )
    for file in files:
        # These files are parsed in this process, before the subprocess probes the model.
        if file.path.endswith((f"/{CONFIG}", f"/{METRICS}")) and file.size > _MAX_JSON_BYTES:
            raise HubError(
                f"{file.path} of {commit.repo} has {file.size:,} bytes; the limit is "
                f"{_MAX_JSON_BYTES:,}. Nothing was changed. Do not use this repository."
            )
    return models


def _probe(bundle: Bundle) -> None:
    """Verify, load and run a model in a subprocess, which a malicious one may crash.

    Raises:
        BundleError: The model is damaged, crashes the engine or does not answer in time.
    """
    kept = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    # Each OpenBLAS thread would use up part of the memory limit of the process.
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core.registry.probe", str(bundle.folder)]
    what = f"{bundle.config.name} {bundle.revision}"
    with tempfile.TemporaryFile() as said:
        try:
            code = subprocess.run(
                command,
                env=environment,
                cwd=Path(__file__).resolve().parents[2],
                stdout=subprocess.DEVNULL,
                stderr=said,
                timeout=_PROBE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise BundleError(f"{what} did not classify an image within {_PROBE_S} s.") from error
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MAX_QUOTED_CHARACTERS))
        lines = said.read().decode(errors="replace").splitlines()
    if code < 0:
        raise BundleError(f"{what} crashes the inference engine (signal {-code}).")
    if code != 0:
        last = "".join(c for c in (lines or ["no reason was given"])[-1] if c.isprintable())
        raise BundleError(f"{what} cannot be used: {last}")


def _make_live(settings: Settings, revisions: Mapping[str, str], *, first: bool = False) -> None:
    bundled = {folder.name for folder in find_bundles(settings.models)}
    origins = {
        each.bundle.revision: HubSource(each.repo, each.commit)
        for each in RevisionStore(settings.home).all()
        if each.bundle.revision in revisions.values()
    }
    store = Store.open(settings)
    try:
        store.live.promote(revisions, bundled, first=first, origins=origins)
    finally:
        store.close()
