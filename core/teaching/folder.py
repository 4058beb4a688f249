"""Read photos to learn from: a folder for each class, or a labels.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from core.errors import TeachingError
from core.teaching.collect import LabelledPhoto

__all__ = ["read_folder"]

_LABELS = "labels.csv"
_COLUMNS = ("file", "label")


def read_folder(folder: Path) -> list[LabelledPhoto]:
    """List the photos of a folder with their classes, sorted by path.

    With a labels.csv in the folder, its columns `file` and `label` name the photos. Otherwise each
    folder in it is a class. Hidden files and folders are left out.

    Args:
        folder: The folder.

    Raises:
        TeachingError: The folder cannot be read, or has neither a labels.csv nor folders of photos.
    """
    try:
        if (folder / _LABELS).is_file():
            return _read_table(folder)
        photos = [
            LabelledPhoto(subfolder.name, file, str(file.relative_to(folder)))
            for subfolder in sorted(folder.iterdir())
            if subfolder.is_dir() and not subfolder.name.startswith(".")
            for file in sorted(subfolder.iterdir())
            if not file.is_dir() and not file.name.startswith(".")
        ]
    except OSError as error:
        raise TeachingError(
            "no_photos", f"{folder} cannot be read: {error.strerror or error}. Check the path."
        ) from error
    if not photos:
        raise TeachingError(
            "no_photos",
            f"{folder} has no folders with photos in it. Make a folder for each class, with its "
            f"photos in it, or a {_LABELS} with the columns file and label.",
        )
    return photos


def _read_table(folder: Path) -> list[LabelledPhoto]:
    table = folder / _LABELS
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise ValueError(f"its first line must name the columns {' and '.join(_COLUMNS)}")
            rows = [(row["file"] or "", row["label"] or "") for row in reader]
    except (csv.Error, ValueError) as error:
        raise TeachingError("no_photos", f"{table} cannot be read: {error}.") from error
    if not rows:
        raise TeachingError("no_photos", f"{table} names no photo. Add a line for each.")
    return [LabelledPhoto(label, folder / file, file) for file, label in sorted(set(rows))]
