"""What visitors say: kept, counted, written out, and read by `evaluate --photos`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image

from core.errors import OutputError, StoreError
from core.photos.prepare import to_archival_jpeg
from core.settings import Settings
from core.store.feedback import Feedback
from core.store.feedback_export import export_photos, feedback_stats
from core.store.store import Store
from core.training.data.labelled_photos import read_labels
from tests import drawings
from tests.conftest import ROOT

LABELS = ("ship", "dog")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def said(
    truth: str, *, answer: str = "cat", verdict: str = "known", photo: bytes | None = None
) -> Feedback:
    front: Literal["page"] = "page"
    return Feedback(front, "classic", "0" * 12, answer, verdict, {answer: 0.9}, truth, None, photo)


def test_what_is_right() -> None:
    assert said("cat").right
    assert said("cat", verdict="unsure").right
    assert not said("dog").right
    assert not said("none").right
    assert said("none", verdict="none").right
    assert not said("cat", verdict="none").right


def test_figures_in_the_wild(settings: Settings) -> None:
    assert feedback_stats(settings) == []
    store = Store.open(settings)
    for truth in ("cat", "cat", "dog", "none"):
        store.feedback.add(said(truth))
    store.close()
    (row,) = feedback_stats(settings)
    assert (row["model"], row["n"], row["right"], row["share"]) == ("classic", 4, 2, 0.5)
    # Wilson's interval of 2 of 4.
    assert (row["low"], row["high"]) == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_photos_are_written_as_they_are_read(settings: Settings, tmp_path: Path) -> None:
    store = Store.open(settings)
    with pytest.raises(StoreError, match="No photos are stored yet"):
        export_photos(settings, tmp_path / "none", LABELS)
    assert not (tmp_path / "none").exists()
    photo = to_archival_jpeg(drawings.ship(2000, 1500))
    for i in range(150):
        # All different, of one size.
        store.feedback.add(said(["ship", "none"][i % 2], photo=photo + bytes([i])))
    store.feedback.add(said("ship", photo=photo + bytes([0])))
    store.feedback.add(said("ship", photo=photo + bytes([1])))  # was "none" before
    store.feedback.add(said("unicorn", photo=photo + b"unicorn"))
    store.feedback.add(said("dog"))
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


def test_nothing_of_the_file_is_kept_but_what_can_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x0112] = 6
    drawings.ship(640, 480).save(path, exif=exif)
    kept = to_archival_jpeg(path)
    assert b"Maker" not in kept
    with Image.open(path.with_suffix(".jpg")) as before:
        assert before.size == (640, 480)
    from io import BytesIO

    with Image.open(BytesIO(kept)) as after:
        assert after.size == (480, 640), "turned as the file says"
        assert not after.getexif()


def test_on_the_command_line(settings: Settings, tmp_path: Path) -> None:
    def tensight(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "core.cli", "feedback", *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TENSIGHT_HOME": str(settings.home)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "Nobody has judged" in tensight("stats").stderr
    store = Store.open(settings)
    store.feedback.add(said("cat", photo=to_archival_jpeg(drawings.ship(64, 48))))
    store.close()
    rows: list[dict[str, Any]] = json.loads(tensight("stats", "--json").stdout)
    assert [(row["model"], row["right"]) for row in rows] == [("classic", 1)]
    assert "classic" in tensight("stats").stdout
    assert "1 photos" in tensight("export", str(tmp_path / "out")).stderr
