"""Folders that are written whole or not at all, and those that only one user may read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import OutputError

__all__ = ["PRIVATE_FILE", "new_folder", "private_folder"]

PRIVATE_FILE = 0o600
"""Mode of a file that only the user who runs TenSight may read."""
_PRIVATE_FOLDER, _FOLDER = 0o700, 0o777  # the second less what umask takes away


def private_folder(folder: Path) -> None:
    """Make a folder that only this user may enter; one that is there stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)


@contextmanager
def new_folder(folder: Path, *, private: bool = False) -> Iterator[Path]:
    """An empty folder to write into; it is put where it belongs once all was written.

    Args:
        folder: Where that is: not there yet, or empty.
        private: Whether only this user may read it.

    Raises:
        OutputError: It holds something, or cannot be written. Nothing was left there.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty. Name a folder that is not there yet.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
            new = Path(scratch) / folder.name
            new.mkdir(mode=_PRIVATE_FOLDER if private else _FOLDER)
            yield new
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}. Name another folder."
        ) from error
