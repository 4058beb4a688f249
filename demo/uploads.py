"""The folder of uploads: cleaned by age, bounded in size, and deleted with its process."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["UploadFolder", "upload_folder"]

_PREFIX = "tensight-uploads-"
_LOCK = "lock"
_FILES = "files"
# A starting process creates its folder before the lock in it.
_WITHOUT_LOCK_S = 60.0
# Time that a renewed file is kept in all, and share of the folder that renewed files may take.
_MAX_HELD_S = 3600.0
_MAX_HELD_SHARE = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Held:
    """A renewed file.

    Attributes:
        written_ns: Time when it was written, as `st_mtime_ns`.
        renewed_ns: Its `st_mtime_ns` since it was renewed.
        size: Its size in bytes.
    """

    written_ns: int
    renewed_ns: int
    size: int


class UploadFolder:
    """A folder whose files are deleted by age, including those of interrupted uploads.

    Args:
        path: The folder.
        max_age_s: Age at which a file is deleted, in seconds since it was last written or renewed.
        max_bytes: Maximum size of all files together.
    """

    def __init__(self, path: Path, *, max_age_s: float, max_bytes: int) -> None:
        self.path = path
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        # Files that the page itself created when it was built.
        self._kept: set[Path] = set()
        self._held: dict[Path, _Held] = {}

    def exempt_existing_files(self) -> None:
        """Exempt the existing files from deletion."""
        self._kept = {path for path in self.path.rglob("*") if path.is_file()}

    def reserve(self, size: int) -> bool:
        """Reserve an upload's size until the next sweep; return False if there is no room."""
        with self._lock:
            if self._bytes + size > self._max_bytes:
                return False
            self._bytes += size
            return True

    def renew(self, paths: Iterable[Path]) -> None:
        """Keep files as if they were written now, as their sender is still sending others.

        A file is renewed for at most an hour, and renewed files take at most half of the folder;
        those beyond that are deleted at their age.

        Args:
            paths: Files of the folder; those that do not exist are ignored.
        """
        now = time.time_ns()
        with self._lock:
            room = self._max_bytes * _MAX_HELD_SHARE - sum(e.size for e in self._held.values())
            for path in paths:
                with suppress(OSError):
                    about, held = path.lstat(), self._held.get(path)
                    added = about.st_size - (0 if held is None else held.size)
                    written_ns = about.st_mtime_ns
                    # Otherwise an upload of the same content has written the file again.
                    if held is not None and held.renewed_ns == written_ns:
                        written_ns = held.written_ns
                    if added > room or now - written_ns > _MAX_HELD_S * 1e9:
                        continue
                    os.utime(path, ns=(now, now), follow_symlinks=False)
                    room -= added
                    self._held[path] = _Held(written_ns, path.lstat().st_mtime_ns, about.st_size)

    def sweep(self) -> None:
        """Delete old files and the folders that they leave empty, and measure what remains."""
        before = time.time() - self._max_age_s
        size = 0
        for folder, _, names in os.walk(self.path, topdown=False):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    about = path.lstat()
                    # A time in the future means that the clock was set back.
                    old = about.st_mtime < before or about.st_mtime > time.time() + 60
                    if old and path not in self._kept:
                        path.unlink()
                    else:
                        size += about.st_size
            with suppress(OSError):
                # An upload moves its file into a folder that it has just created.
                if Path(folder) != self.path and Path(folder).stat().st_mtime < before:
                    Path(folder).rmdir()
        with self._lock:
            self._bytes = size
            self._held = {path: held for path, held in self._held.items() if path.exists()}

    @contextmanager
    def swept(self, every_s: float) -> Iterator[None]:
        """Sweep at intervals of `every_s` seconds while the context is open."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(every_s):
                try:
                    self.sweep()
                except OSError:
                    logger.exception("Old uploads cannot be deleted from %s", self.path)

        thread = threading.Thread(target=work, name="uploads", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def upload_folder(*, max_age_s: float, max_bytes: int) -> Iterator[UploadFolder]:
    """Create a folder for the uploads of this process, and delete it at the end.

    Folders of processes that were killed before they could do so are deleted first: a lock in each
    shows whether its process is running.
    """
    parent = Path(tempfile.gettempdir())
    _delete_abandoned(parent)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = FileLock(own / _LOCK)
    try:
        with lock:
            files = own / _FILES
            files.mkdir()
            yield UploadFolder(files, max_age_s=max_age_s, max_bytes=max_bytes)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _delete_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            if folder.is_symlink() or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
                continue
            lock = folder / _LOCK
            if not lock.exists():
                if abs(time.time() - about.st_mtime) > _WITHOUT_LOCK_S:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(folder / _FILES, ignore_errors=True)
            except Timeout:
                continue
            shutil.rmtree(folder, ignore_errors=True)
