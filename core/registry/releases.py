"""Models from the Hub: brought here, checked, made live, rolled back, published."""

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
from core.registry.revisions import Pulled, Revisions
from core.settings import Settings
from core.store.live import HubSource, Live
from core.store.store import Store
from core.text import has_hidden, printable

__all__ = [
    "Remote",
    "collect",
    "list_remote",
    "promote",
    "pull",
    "push",
    "resolve",
    "roll_back",
]

_MOST_FILES = 1000
_MAX_PATH = 200  # characters
_MOST_BYTES = 2 * 2**30
_PROBE_S = 120
_MOST_SAID = 4000
_MOST_JSON = 4 * 2**20
_SHORTEST_REVISION = 4
_PUBLISHER = (
    "Where a new try does not help, its publisher must publish it again; until then, pull another "
    "revision."
)


@dataclass(frozen=True)
class Remote:
    """A model as it stands in a repository on the Hub.

    Attributes:
        config: Its config.json.
        metrics: Its metrics.json.
        revision: As of its bundle.
        here: Whether this revision is here.
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
) -> list[Pulled]:
    """Bring the models of a repository here, as candidates: nothing answers with them yet.

    Each is checked against the commit's tree and its own config.json, and loaded by another
    process, before it gets its place. If anything fails until then, nothing has changed. If they
    cannot be made live, the same revisions answer as before, and those that were pulled are here.

    Args:
        settings: `home`, `hub_repo`, `hub_revision` and `hub_token` are used.
        repo: `owner/name`; None: TENSIGHT_HUB_REPO.
        revision: Branch, tag or commit; None: TENSIGHT_HUB_REVISION.
        live: Also make `all` of them live, in one step; or those of which none was made live
            before (`first`).
        patience_s: Seconds after which the Hub counts as out of reach.
        progress: Told how many bytes have arrived, and of how many.

    Returns:
        What is here now of that commit.

    Raises:
        HubError: The Hub cannot be reached, refuses, or holds what cannot be used.
        BundleError: A model of it cannot be used.
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: They cannot be made live.
    """
    commit = hub.resolve(
        _repo(settings, repo),
        revision or settings.hub_revision,
        token=settings.hub_token,
        patience_s=patience_s,
    )
    models = _models_of(commit)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    revisions = Revisions(settings.home)
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
                    f"{name} of {commit.repo} at {commit.sha[:12]} is not taken, and nothing was "
                    f"changed: {error} {_PUBLISHER}"
                ) from error
            drafts.append(Pulled(bundle, commit.repo, commit.sha, date))
        with revisions.changing():
            pulled = [replace(draft, bundle=revisions.add(draft)) for draft in drafts]
            if live != "no":
                chosen = {each.bundle.config.name: each.bundle.revision for each in pulled}
                _make_live(settings, chosen, first=live == "first")
    return pulled


def promote(settings: Settings, name: str, revision: str) -> str:
    """Make a revision of a model live that is here; running fronts answer with it within a second.

    Args:
        settings: `home`, `models` and `database_url` are used.
        name: Of the model.
        revision: As `tensight models list` shows it, or how it begins; or `bundled`.

    Returns:
        The revision, whole.

    Raises:
        ModelNotFoundError: It is not here, or several begin so.
        BundleError: It is damaged.
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: The database cannot be used.
    """
    with Revisions(settings.home).changing():
        found = resolve(settings, name, revision)
        _make_live(settings, {name: found})
    return found


def resolve(settings: Settings, name: str, revision: str) -> str:
    """A revision that is here and whole, by how it begins.

    Args:
        settings: `home` and `models` are used.
        name: Of the model.
        revision: As for `promote`.

    Raises:
        ModelNotFoundError: It is not here, or several begin so.
        BundleError: It is damaged.
    """
    is_bundled = any(folder.name == name for folder in find_bundles(settings.models))
    if revision == BUNDLED and is_bundled:
        Bundle.open(settings.models / name).verify()
        return BUNDLED
    there = {
        each.bundle.revision: each.bundle
        for each in Revisions(settings.home).all()
        if each.bundle.config.name == name
    }
    known = ", ".join([*there, *([BUNDLED] if is_bundled else [])]) or "none"
    if len(revision) < _SHORTEST_REVISION:
        raise ModelNotFoundError(
            f"{revision!r} is too short for a revision. Give at least {_SHORTEST_REVISION} digits "
            f"of one. Here of {name}: {known}."
        )
    begin_so = [bundle for full, bundle in there.items() if full.startswith(revision)]
    if len(begin_so) != 1:
        problem = "Several revisions begin so" if begin_so else "That revision is not here"
        raise ModelNotFoundError(
            f"{problem}: {name} {revision}. Here of {name}: {known}. `tensight models pull` brings "
            "more."
        )
    begin_so[0].verify()
    return begin_so[0].revision


def roll_back(settings: Settings, name: str, *, seen: Live | None = None) -> Live:
    """Swap the live revision of a model and the last good one.

    Args:
        settings: As for `promote`.
        name: Of the model.
        seen: What was live when somebody said that these two are to be swapped; None: whatever is.

    Raises:
        ModelNotFoundError: The last good one is not here any more.
        BundleError: It is damaged.
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: There is none, or what is live is not as it was seen, or the database cannot be
            used.
    """
    with Revisions(settings.home).changing():
        store = Store.open(settings)
        try:
            row = store.live.all().get(name)
            if seen is not None and row != seen:
                raise StoreError(
                    f"Nothing was changed: {seen.revision} of {name} was to give way to "
                    f"{seen.last_good}, and another revision was made live meanwhile. `tensight "
                    "models list` shows which."
                )
            if row is not None and row.last_good is not None:
                resolve(settings, name, row.last_good)
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
    """Publish the models of the settings, with their cards; the repository is made if it must be.

    Args:
        settings: `models`, `hub_repo` and `hub_token` are used.
        repo: `owner/name`; None: TENSIGHT_HUB_REPO.
        tag: To put on the commit.
        message: Of the commit.
        private: Whether a repository that is made can be seen by its owner alone.
        bars: Whether stderr shows how far it is.

    Returns:
        The commit, 40 hex digits.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: A model is damaged; nothing was sent.
        HubError: The Hub cannot be reached, or refuses; the message says how far it came.
    """
    where = _repo(settings, repo)
    folders = [f for f in sorted(settings.models.glob("[!.]*")) if f.is_dir()]
    if not folders:
        raise ModelNotFoundError(f"There is no model in {settings.models} to publish.")
    files = [f.name for f in sorted(settings.models.glob("[!.]*")) if f.suffix in (".md", ".json")]
    for folder in folders:
        try:
            bundle = Bundle.open(folder)
            bundle.read(CARD)
            _probe(bundle)
        except BundleError as error:
            raise BundleError(
                f"Nothing was sent: {error} Make that model again, or take it out of "
                f"{settings.models}."
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
) -> list[Remote]:
    """The models of a repository, without their weights.

    Raises:
        HubError: The Hub cannot be reached, refuses, or holds what cannot be used.
        BundleError: A model's config.json or metrics.json is wrong.
    """
    commit = hub.resolve(
        _repo(settings, repo), revision or settings.hub_revision, token=settings.hub_token
    )
    models = _models_of(commit)
    wanted = [
        file
        for each in models.values()
        for file in each
        if file.path.rpartition("/")[2] in (CONFIG, METRICS)
    ]
    revisions = Revisions(settings.home)
    found = []
    with revisions.staging() as staging:
        hub.fetch(commit, wanted, into=staging, cache=_cache(settings), token=settings.hub_token)
        for name in models:
            bundle = Bundle.open(staging / name)
            here = revisions.path(name, bundle.revision).is_dir()
            found.append(Remote(bundle.config, bundle.metrics(), bundle.revision, here))
    return found


def collect(settings: Settings) -> tuple[list[str], int]:
    """Delete revisions that are neither live nor the last good ones, and what was downloaded.

    While a process pulls, what was downloaded stays: it may be what that process needs.

    Returns:
        The revisions that were deleted, and how many bytes that freed.

    Raises:
        OutputError: TENSIGHT_HOME cannot be written.
        StoreError: It cannot be found out what is live.
    """
    revisions = Revisions(settings.home)
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
        raise HubError("No repository was named. Give --repo OWNER/NAME, or set TENSIGHT_HUB_REPO.")
    return found


def _cache(settings: Settings) -> Path:
    return settings.home / "hub"


def _models_of(commit: Commit) -> dict[str, list[RemoteFile]]:
    """Files of each model folder of a commit; what is no part of one is left alone."""
    for file in commit.files:
        if ".." in file.path.split("/") or "\\" in file.path or file.path.startswith("/"):
            raise HubError(
                f"{commit.repo} holds a file named {file.path!r}, which would be written outside "
                "its folder. Nothing was changed. Do not use this repository."
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
            f"{commit.repo} holds no model: no folder in it has a {CONFIG}. Publish models with "
            "`tensight models push`."
        )
    for name, files in models.items():
        if not any(file.path == f"{name}/{MODEL}" for file in files):
            raise HubError(f"{name} in {commit.repo} has no {MODEL}. Publish it again.")
    files = [file for each in models.values() for file in each]
    size = sum(file.size for file in files)
    if len(files) > _MOST_FILES or size > _MOST_BYTES:
        raise HubError(
            f"The models of {commit.repo} are {len(files):,} files of {size:,} bytes; at most "
            f"{_MOST_FILES:,} files of {_MOST_BYTES:,} bytes are taken."
        )
    for file in files:
        # They are parsed in this process, before another one looks at the model.
        if file.path.endswith((f"/{CONFIG}", f"/{METRICS}")) and file.size > _MOST_JSON:
            raise HubError(
                f"{file.path} of {commit.repo} has {file.size:,} bytes; at most {_MOST_JSON:,} are "
                "read. Nothing was changed. Do not use this repository."
            )
    return models


def _probe(bundle: Bundle) -> None:
    """See that a model is whole, can be loaded and answers, in a process that may crash."""
    kept = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    # Threads that are not needed would take of the memory that the process is allowed.
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
            raise BundleError(f"{what} gave no answer to a photo within {_PROBE_S} s.") from error
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID))
        lines = said.read().decode(errors="replace").splitlines()
    if code < 0:
        raise BundleError(f"{what} crashes the engine that loads it (signal {-code}).")
    if code != 0:
        last = "".join(c for c in (lines or ["no reason was given"])[-1] if c.isprintable())
        raise BundleError(f"{what} cannot be used: {last}")


def _make_live(settings: Settings, revisions: Mapping[str, str], *, first: bool = False) -> None:
    bundled = {folder.name for folder in find_bundles(settings.models)}
    origins = {
        each.bundle.revision: HubSource(each.repo, each.commit)
        for each in Revisions(settings.home).all()
        if each.bundle.revision in revisions.values()
    }
    store = Store.open(settings)
    try:
        store.live.promote(revisions, bundled, first=first, origins=origins)
    finally:
        store.close()
