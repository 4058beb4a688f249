"""What visitors say of answers: figures in the wild, and photos to measure and train with."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection
from math import sqrt
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.output import new_folder
from core.settings import Settings
from core.store.feedback import NONE
from core.store.store import Store

__all__ = ["LABELS", "export_photos", "feedback_stats"]

LABELS = "labels.csv"
"""Names the photos of a folder, and what is on each: columns `file` and `label`."""

# Of the normal distribution, for an interval of 95%.
_Z = 1.959964


def feedback_stats(settings: Settings) -> list[dict[str, Any]]:
    """How right each revision of each model is on the photos that visitors judged.

    Visitors judge what surprises them, so these are no figures of all photos.

    Returns:
        Rows of `model`, `revision`, `n`, `right`, `share`, and `low` and `high`, the ends of its
        95% interval (Wilson 1927).

    Raises:
        StoreError: The database cannot be used.
    """
    store = Store.find(settings)
    if store is None:
        return []
    try:
        rows = store.feedback.stats()
    finally:
        store.close()
    return [
        {
            "model": row.model,
            "revision": row.revision,
            "n": row.n,
            "right": row.right,
            "share": row.right / row.n,
            **_interval(row.right, row.n),
        }
        for row in rows
    ]


def export_photos(settings: Settings, folder: Path, labels: Collection[str]) -> tuple[int, int]:
    """Write the photos that were kept, and what visitors say is on them.

    A photo that was judged more than once is written once; not at all where visitors contradict
    each other, or say of it what is none of the labels.

    Args:
        settings: Where the database is.
        folder: Must not be there yet, or be empty.
        labels: Those of the model that is to learn from them, or be measured.

    Returns:
        How many were written, and how many were left out.

    Raises:
        OutputError: The folder holds something, or cannot be written.
        StoreError: There is no photo, or the database cannot be used.
    """
    store = Store.find(settings)
    try:
        with new_folder(folder, private=True) as new:
            truths: dict[str, set[str]] = {}
            for _, truth, photo in store.feedback.photos() if store is not None else ():
                name = hashlib.sha256(photo).hexdigest()[:16]
                (new / f"{name}.jpg").write_bytes(photo)
                truths.setdefault(name, set()).add(truth)
            if not truths:
                raise StoreError(
                    "No visitor has left a photo yet: they do by ticking the box under an answer."
                )
            rows = []
            for name, said in truths.items():
                if len(said) == 1 and said <= {*labels, NONE}:
                    rows.append((f"{name}.jpg", *said))
                else:
                    (new / f"{name}.jpg").unlink()
            with (new / LABELS).open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([("file", "label"), *rows])
    finally:
        if store is not None:
            store.close()
    return len(rows), len(truths) - len(rows)


def _interval(right: int, n: int) -> dict[str, float]:
    share, square = right / n, _Z**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n**2))
    return {"low": middle - half, "high": middle + half}
