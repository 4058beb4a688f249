"""Sources of real photos, and the licenses that they state."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from core.settings import Settings
from core.training.data.photo_sources import STATED_LICENSES, count_sources
from core.training.data.real_photos import RealPhotos, has_real_photos, load_real_photos
from tests.conftest import ROOT, need

_ROW = re.compile(
    r"^\| \[`([^`]+)`\]\(https://github\.com/([^)]+)\) \| ([^|]+) \| ([^|]+) \|$", re.M
)


def _photos(*sources: str) -> RealPhotos:
    n, words = len(sources), np.asarray(sources)
    image = np.zeros((2, 2, 3), np.uint8)
    return RealPhotos((image,) * n, np.zeros(n, np.int64), words, words, words)


def test_sources_are_counted_with_the_license_of_known_repositories() -> None:
    raccoons = "datitran/raccoon_dataset"
    photos = _photos("my/folder", raccoons, "my/folder", "another")
    found = [(each.name, each.photos, each.license) for each in count_sources(photos)]
    assert found == [("my/folder", 2, None), ("another", 1, None), (raccoons, 1, "MIT")]


def test_training_page_lists_the_same_licenses() -> None:
    rows = _ROW.findall((ROOT / "docs" / "TRAINING.md").read_text("utf-8"))
    assert {name: stated for name, _, _, stated in rows} == STATED_LICENSES
    assert len(rows) == len(STATED_LICENSES)
    assert all(name == url for name, url, _, _ in rows)


def test_every_source_of_the_published_folder_has_a_license(data_folder: Path) -> None:
    settings = Settings(data=data_folder)
    need("real_photos", has_real_photos(settings), "TENSIGHT_DATA has no real_photos/")
    parts = load_real_photos(settings)
    learned = {each.name: each for each in count_sources(parts.train)}
    every = {*parts.kept_back.sources.tolist(), *parts.valid.sources.tolist(), *learned}
    assert every == set(STATED_LICENSES)
    assert len(learned) == 20
    assert sum(each.photos for each in learned.values()) == 5_589
    assert set(STATED_LICENSES) - set(learned) == {
        "datitran/raccoon_dataset",
        "experiencor/kangaroo",
    }
