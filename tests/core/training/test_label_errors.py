"""Label errors of the real photos: they are listed in docs/TRAINING.md, and no photo is dropped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.bundle.leaderboard import read_models
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.real_photos import find_real_photos, has_real_photos, read_real_photos
from tests.conftest import ROOT, need

PAGE = (ROOT / "docs" / "TRAINING.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "part"), [("efficientnet", "real_photos"), ("efficientnet-unseen", "unseen_sources")]
)
def test_every_misclassified_photo_was_looked_at(name: str, part: str) -> None:
    (model,) = [each for each in read_models(ROOT / "models") if each.config.name == name]
    photos = getattr(model.metrics, part)
    assert photos is not None
    new = [each.path for each in photos.mistakes if f"`{each.path}`" not in PAGE]
    assert not new, (
        "add each to docs/TRAINING.md, with what it shows and whether its label is wrong"
    )


def test_photos_with_wrong_labels_are_kept(data_folder: Path) -> None:
    settings = Settings(data=data_folder)
    need("real_photos", has_real_photos(settings), "TENSIGHT_DATA has no real_photos/")
    row = re.compile(
        r"^\| `([^`]+)` \| `([^`]+)` \| (\w+) \| \w+ \| (?:wrong label|neither): ", re.M
    )
    listed = row.findall(PAGE)
    assert len(listed) == 4
    folder = find_real_photos(settings)
    photos = read_real_photos(folder, "train").concat(read_real_photos(folder, "valid"))
    labels = [(*CIFAR10_LABELS, "none")[label] for label in photos.labels]
    kept = set(zip(photos.sources.tolist(), photos.paths.tolist(), labels, strict=True))
    assert set(listed) <= kept
