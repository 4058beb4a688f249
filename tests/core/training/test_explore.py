"""Exploratory data analysis."""

from __future__ import annotations

from pathlib import Path

from core.settings import Settings
from core.training.data.real_photos import (
    load_real_photos,
)
from core.training.explore import explore
from tests.support import made


def test_explore_counts_real_photos(tmp_path: Path) -> None:
    parts = load_real_photos(Settings(data=made.real_photos(tmp_path)))
    photos = {"train": parts.train.concat(parts.kept_back), "valid": parts.valid}
    tables, page = explore(made.ten(), tmp_path / "out", photos)
    by_title = {title: rows for title, _, rows in tables}
    assert ["cat", "4", "4"] in by_title["Real photos of each class"]
    assert ["none", "20", "12"] in by_title["Real photos of each class"]
    assert ["one/photos", "30", "26"] in by_title["Real photos by source"]
    kinds = next(rows for title, rows in by_title.items() if "by kind" in title)
    assert ["kangaroo *", "8", "0"] in kinds
    assert ["train", "longer", "120", "120", "120"] in by_title[
        "Sides of the real photos in pixels"
    ]
    assert "one/photos" in page.read_text("utf-8")


def test_explore_describes_shapes_counts_and_values(tmp_path: Path) -> None:
    tables, page = explore(made.dataset(), tmp_path / "deep" / "folder")
    shapes, counts, values = tables
    assert shapes[2][0] == ["train", "600 × 32 × 32 × 3", "uint8", "600"]
    assert counts[2][0] == ["red square", "200", "180", "20", "50"]
    assert [row[:4] for row in values[2][:3]] == [
        ["train", "red", "0", "255"],
        ["train", "green", "0", "255"],
        ["train", "blue", "0", "255"],
    ]
    content = page.read_text("utf-8")
    assert content.count("<img") == 3
    assert "12 images of the class green bar" in content
