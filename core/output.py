"""Output files and folders: written completely or not at all, private where they must be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import OutputError

__all__ = ["PRIVATE_FILE", "new_folder", "private_folder", "replacing"]

PRIVATE_FILE = 0o600
"""Mode of a file that only its owner may read."""
_PRIVATE_FOLDER, _FOLDER = 0o700, 0o777  # the umask applies to the second


def private_folder(folder: Path) -> None:
    """Create a folder with mode 0700; an existing folder keeps its mode.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)


@contextmanager
def new_folder(folder: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to write into, and rename it to its final path on success.

    Args:
        folder: Final path; it must not exist, or be empty.
        private: Whether to give the folder mode 0700.

    Raises:
        OutputError: The folder is not empty or cannot be written. No partial output is left.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(
                f"The folder {folder} is not empty. Choose a folder that does not exist yet."
            )
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
            f"Cannot write the folder {folder}: {error.strerror or error}. Choose another folder."
        ) from error


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file, and rename it to that file on success.

    Readers see the old content or the new, never a part. On failure the old file is kept.

    Raises:
        OSError: The file cannot be written.
    """
    new = file.with_name(f".{file.name}.new")
    try:
        yield new
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
