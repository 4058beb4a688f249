"""Feedback statistics, and export of photos with feedback for evaluation and training."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from core.bundle.metrics import ProportionEstimate
from core.errors import StoreError
from core.output import new_folder
from core.settings import Settings
from core.store.feedback import NONE
from core.store.store import Store

__all__ = ["LABELS", "export_photos", "feedback_stats"]

LABELS = "labels.csv"
"""File that lists the photos of a folder with their labels: columns `file` and `label`."""


def feedback_stats(settings: Settings) -> list[dict[str, Any]]:
    """Compute the accuracy of each revision on photos with user feedback.

    Users mostly judge surprising answers, so this is not an estimate for all photos.

    Args:
        settings: `home` and `database_url` are used.

    Returns:
        One row for each revision, also of private models: `model`, `revision`, `n`, `right`,
        `share` (right / n), and the bounds `low` and `high` of its 95% interval (Wilson 1927).

    Raises:
        StoreError: The database is not available.
    """
    store = Store.find(settings)
    if store is None:
        return []
    try:
        rows = store.feedback.stats()
    finally:
        store.close()
    estimates = [ProportionEstimate.of(row.right, row.n) for row in rows]
    return [
        {
            "model": row.model,
            "revision": row.revision,
            "n": row.n,
            "right": row.right,
            "share": estimate.share,
            "low": estimate.low,
            "high": estimate.high,
        }
        for row, estimate in zip(rows, estimates, strict=True)
    ]


def export_photos(settings: Settings, folder: Path, labels: Collection[str]) -> tuple[int, int]:
    """Export the stored photos with their labels to a folder.

    Duplicates are written once. Photos with contradictory labels, or with a label that is neither
    in `labels` nor `none`, are skipped.

    Args:
        settings: `home` and `database_url` are used.
        folder: Target folder; it must not exist, or be empty.
        labels: Labels of the model to train or evaluate.

    Returns:
        Number of photos written, and number skipped.

    Raises:
        OutputError: The folder is not empty or cannot be written.
        StoreError: No photo is stored, or the database is not available.
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
                    "No photos are stored yet. Users allow it with the checkbox under an answer on "
                    "the page, or with the bot's command /privacy."
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
