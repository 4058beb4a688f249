"""Feedback statistics and the export of photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.errors import OutputError, StoreError
from core.photos.prepare import to_archival_jpeg
from core.settings import Settings
from core.store.feedback_export import export_photos, feedback_stats
from core.store.store import Store
from core.training.data.labelled_photos import read_labels
from tests.support import drawings
from tests.support.feedback import page_feedback

LABELS = ("ship", "dog")


def test_feedback_stats_have_a_wilson_interval(settings: Settings) -> None:
    assert feedback_stats(settings) == []
    store = Store.open(settings)
    for truth in ("cat", "cat", "dog", "none"):
        store.feedback.add(page_feedback(truth))
    store.close()
    (row,) = feedback_stats(settings)
    assert (row["model"], row["n"], row["right"], row["share"]) == ("classic", 4, 2, 0.5)
    # Wilson's interval of 2 of 4.
    assert (row["low"], row["high"]) == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_export_writes_consistent_photos_with_labels(settings: Settings, tmp_path: Path) -> None:
    store = Store.open(settings)
    with pytest.raises(StoreError, match="No photos are stored yet"):
        export_photos(settings, tmp_path / "none", LABELS)
    assert not (tmp_path / "none").exists()
    photo = to_archival_jpeg(drawings.ship(2000, 1500))
    for i in range(150):
        # All different, of one size.
        store.feedback.add(page_feedback(["ship", "none"][i % 2], photo=photo + bytes([i])))
    store.feedback.add(page_feedback("ship", photo=photo + bytes([0])))
    store.feedback.add(page_feedback("ship", photo=photo + bytes([1])))  # was "none" before
    store.feedback.add(page_feedback("unicorn", photo=photo + b"unicorn"))
    store.feedback.add(page_feedback("dog"))
    store.close()
    out = tmp_path / "out"
    assert export_photos(settings, out, LABELS) == (149, 2)
    labels = read_labels(out, LABELS)
    assert list(labels.values())[:2] == ["ship", "ship"]
    assert len(labels) == len(list(out.glob("*.jpg"))) == 149
    with Image.open(out / next(iter(labels))) as kept:
        assert kept.size == (1024, 768)
    with pytest.raises(OutputError, match="is not empty"):
        export_photos(settings, out, LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Choose another folder"):
        export_photos(settings, tmp_path / "file" / "out", LABELS)
