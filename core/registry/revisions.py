"""Storage of installed model revisions: folders in TENSIGHT_HOME/revisions."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.bundle.folder import Bundle
from core.errors import BundleError, OutputError, TenSightError
from core.lock import locked
from core.output import private_folder

__all__ = ["RevisionStore", "StoredRevision"]

_ORIGIN = "origin.json"
_STAGING = ".staging-"
_LOCK = ".lock"
_LOCK_TIMEOUT_S = 600


@dataclass(frozen=True)
class StoredRevision:
    """An installed revision.

    Attributes:
        bundle: The model folder.
        repo: Repository on the Hub that it was pulled from, `owner/name`; None for one that was
            taught here, and for a copy of a bundled base.
        commit: Commit of that repository, 40 hex digits; None likewise.
        date: Time of the pull, ISO 8601 in UTC.
    """

    bundle: Bundle
    repo: str | None
    commit: str | None
    date: str


class RevisionStore:
    """The store of installed revisions.

    REVISION/NAME/ holds a model folder, and REVISION/origin.json where it came from.

    Args:
        home: TENSIGHT_HOME.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "revisions"

    def path(self, name: str, revision: str) -> Path:
        """Return the path of a revision's model folder, whether or not it is installed."""
        return self._folder / revision / name

    def find(self, name: str, revision: str) -> Bundle | None:
        """Open an installed revision; None where it is not installed.

        Raises:
            BundleError: It is installed, but its config.json is invalid.
        """
        folder = self.path(name, revision)
        return Bundle.open(folder) if folder.is_dir() else None

    def all(self) -> list[StoredRevision]:
        """List all readable revisions, sorted by model and date."""
        found = [
            each for folder in self.folders() if isinstance(each := _read(folder), StoredRevision)
        ]
        return sorted(found, key=lambda each: (each.bundle.config.name, each.date))

    def damaged(self) -> dict[str, BundleError]:
        """Return the unreadable revisions with their errors."""
        each = {folder.name: _read(folder) for folder in self.folders()}
        return {name: found for name, found in each.items() if isinstance(found, BundleError)}

    def folders(self) -> list[Path]:
        """List the folders of all revisions, readable or not; their names are the revisions."""
        return sorted(folder for folder in self._folder.glob("[!.]*") if folder.is_dir())

    def bundles(self) -> Iterator[Bundle]:
        """Yield the bundles of all readable revisions; those of a model in no particular order."""
        for folder in self.folders():
            if isinstance(found := _read(folder), StoredRevision):
                yield found.bundle

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock for adding, removing and promoting revisions.

        Raises:
            OutputError: The folder cannot be written, or the lock was not released in time.
        """
        busy = OutputError(
            f"Another process has held the lock on {self._folder} for {_LOCK_TIMEOUT_S} s. Try "
            "again once it has finished."
        )
        lock = locked(self._folder / ".lock", timeout_s=_LOCK_TIMEOUT_S, on_timeout=busy)
        with ExitStack() as stack:
            with self._writing():
                private_folder(self._folder.parent)
                self._folder.mkdir(exist_ok=True)
                stack.enter_context(lock)
                self._clean()
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Create a temporary folder on the same file system, for models being pulled.

        Other processes may add and remove revisions meanwhile, but they keep the download cache
        (see `staged`). The folder is deleted on exit.

        Raises:
            OutputError: The folder cannot be written, or the lock was not released in time.
        """
        with ExitStack() as stack:
            with self.changing(), self._writing():
                staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
                # While this lock is held, other processes know that the owner is still running.
                stack.callback(_lock_of(staging).unlink, missing_ok=True)
                stack.enter_context(FileLock(_lock_of(staging)))
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
            yield staging

    def staged(self) -> bool:
        """Return whether a process is pulling models. Call it within `changing` only."""
        return any(left.is_dir() for left in self._folder.glob(f"{_STAGING}*"))

    def _clean(self) -> None:
        """Delete staging folders of processes that were killed."""
        for name in {left.name.removesuffix(_LOCK) for left in self._folder.glob(f"{_STAGING}*")}:
            staging = self._folder / name
            with suppress(Timeout):
                with FileLock(_lock_of(staging), timeout=0):
                    shutil.rmtree(staging, ignore_errors=True)
                _lock_of(staging).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, TenSightError):
                raise
            raise OutputError(
                f"{self._folder} cannot be written: {error}. Check the free disk space and that "
                "this user has write permission, or set TENSIGHT_HOME to another folder."
            ) from error

    def add(self, pulled: StoredRevision) -> Bundle:
        """Install a model folder by moving it out of `staging` atomically.

        Call it within `changing` only.

        Args:
            pulled: The staged revision.

        Returns:
            The installed bundle; an intact one that was already installed is kept.

        Raises:
            OutputError: The folder cannot be written.
        """
        bundle = pulled.bundle
        target = self.path(bundle.config.name, bundle.revision)
        there = _read(target.parent)
        if (
            isinstance(there, StoredRevision)
            and there.bundle.folder == target
            and _is_whole(there.bundle)
        ):
            return there.bundle
        origin = {key: value for key, value in asdict(pulled).items() if key != "bundle"}
        origin["name"] = bundle.config.name
        whole = bundle.folder.parent / f".{bundle.revision}"
        with self._writing():
            whole.mkdir()
            (whole / _ORIGIN).write_text(json.dumps(origin) + "\n", "utf-8")
            bundle.folder.rename(whole / bundle.config.name)
            _settle(whole)
            if target.parent.exists():
                self.remove(target.parent)
            whole.rename(target.parent)
            _sync(self._folder)
        return Bundle.open(target)

    def remove(self, folder: Path) -> int:
        """Delete an installed revision. Call it within `changing` only.

        Args:
            folder: One of `folders`.

        Returns:
            Number of bytes freed.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._writing():
            freed = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
            # The folder is renamed first, so that a partly deleted revision is never visible.
            gone = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
            folder.rename(gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)
        return freed


def _read(folder: Path) -> StoredRevision | BundleError:
    """Read the revision in a folder; return the error where it cannot be read."""
    try:
        about = json.loads((folder / _ORIGIN).read_text("utf-8"))
        bundle = Bundle.open(folder / about["name"])
        return StoredRevision(bundle, about["repo"], about["commit"], about["date"])
    except BundleError as error:
        return error
    except (OSError, ValueError, KeyError, TypeError) as error:
        return BundleError(f"{folder / _ORIGIN} cannot be read: {error}. Pull the model again.")


def _is_whole(bundle: Bundle) -> bool:
    try:
        bundle.verify()
    except BundleError:
        return False
    return True


def _lock_of(staging: Path) -> Path:
    return staging.with_name(staging.name + _LOCK)


def _settle(folder: Path) -> None:
    """Flush a folder and its content to disk, before it is renamed to its final name."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)
