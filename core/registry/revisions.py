"""Revisions of models that were brought here: folders in TENSIGHT_HOME/revisions."""

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
from core.output import private_folder

__all__ = ["Pulled", "Revisions"]

_ORIGIN = "origin.json"
_STAGING = ".staging-"
_LOCK = ".lock"
_PATIENCE_S = 600


@dataclass(frozen=True)
class Pulled:
    """A revision that is here.

    Attributes:
        bundle: The model folder.
        repo: Repository on the Hub that it came from.
        commit: Commit of that repository, 40 hex digits.
        date: When it was brought here, in UTC.
    """

    bundle: Bundle
    repo: str
    commit: str
    date: str


class Revisions:
    """The folder; REVISION/NAME/ in it is one model folder, REVISION/origin.json says whence.

    Args:
        home: TENSIGHT_HOME.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "revisions"

    def path(self, name: str, revision: str) -> Path:
        """Where a revision of a model lies, if it is here."""
        return self._folder / revision / name

    def find(self, name: str, revision: str) -> Bundle | None:
        """A revision that is here; None where it is not.

        Raises:
            BundleError: It is here, and its config.json is damaged.
        """
        folder = self.path(name, revision)
        return Bundle.open(folder) if folder.is_dir() else None

    def all(self) -> list[Pulled]:
        """Every revision that is here and can be read, by model and date."""
        found = [each for folder in self.folders() if isinstance(each := _read(folder), Pulled)]
        return sorted(found, key=lambda each: (each.bundle.config.name, each.date))

    def damaged(self) -> dict[str, BundleError]:
        """Revisions that are here and cannot be read, and why."""
        each = {folder.name: _read(folder) for folder in self.folders()}
        return {name: found for name, found in each.items() if isinstance(found, BundleError)}

    def folders(self) -> list[Path]:
        """The folder of every revision, whatever is in it; its name is the revision."""
        return sorted(folder for folder in self._folder.glob("[!.]*") if folder.is_dir())

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One process at a time adds and removes revisions, and says which are live.

        Raises:
            OutputError: The folder cannot be written, or another process does not come to an end.
        """
        with ExitStack() as stack:
            try:
                with self._writing():
                    private_folder(self._folder.parent)
                    self._folder.mkdir(exist_ok=True)
                    stack.enter_context(FileLock(self._folder / ".lock", timeout=_PATIENCE_S))
                    self._clean()
            except Timeout as error:
                raise OutputError(
                    f"Another process has been bringing models to {self._folder} for "
                    f"{_PATIENCE_S} s. Try again when it has ended."
                ) from error
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the same disk, for what is being brought here; deleted in the end.

        Others may add and remove revisions meanwhile, but not what was downloaded (`staged`).

        Raises:
            OutputError: The folder cannot be written, or another process does not come to an end.
        """
        with ExitStack() as stack:
            with self.changing(), self._writing():
                staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
                # That it is held tells others that who made the folder has not been killed.
                stack.callback(_lock_of(staging).unlink, missing_ok=True)
                stack.enter_context(FileLock(_lock_of(staging)))
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
            yield staging

    def staged(self) -> bool:
        """Whether some process is bringing models here. Only within `changing`."""
        return any(left.is_dir() for left in self._folder.glob(f"{_STAGING}*"))

    def _clean(self) -> None:
        """Delete what processes left that were killed."""
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
            if isinstance(error, TenSightError | Timeout):
                raise
            raise OutputError(
                f"{self._folder} cannot be written: {error}. See that there is room, and that this "
                "user may write there; or name another folder in TENSIGHT_HOME."
            ) from error

    def add(self, pulled: Pulled) -> Bundle:
        """Move a model folder out of `staging` to where it belongs, in one step.

        Only within `changing`.

        Returns:
            It, in its new place; or the one that was there already and is whole.

        Raises:
            OutputError: The folder cannot be written.
        """
        bundle = pulled.bundle
        target = self.path(bundle.config.name, bundle.revision)
        there = _read(target.parent)
        if isinstance(there, Pulled) and there.bundle.folder == target and _is_whole(there.bundle):
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
        """Delete one of `folders`; the number of bytes that this freed. Only within `changing`.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._writing():
            freed = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
            # First out of sight: half a folder is never found.
            gone = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
            folder.rename(gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)
        return freed


def _read(folder: Path) -> Pulled | BundleError:
    """The revision in a folder, or why it cannot be read."""
    try:
        about = json.loads((folder / _ORIGIN).read_text("utf-8"))
        bundle = Bundle.open(folder / about["name"])
        return Pulled(bundle, about["repo"], about["commit"], about["date"])
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
    """See that everything below is on the disk, before it gets its name."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)
