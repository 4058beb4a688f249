"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.training.data.datasets import Split
from tests.support import drawings


@pytest.fixture
def models(made_models: Path, tmp_path: Path) -> Path:
    """Copy the trained model into the folders of a checkout: models/ with docs/ beside it."""
    shutil.copytree(made_models, tmp_path / "models")
    (tmp_path / "docs").mkdir()
    return tmp_path / "models"


@pytest.fixture(scope="session")
def ships() -> Split:
    """Return forty images of a ship with different noise, 64 × 64 pixels."""
    rng = np.random.default_rng(0)
    images = np.stack([np.asarray(drawings.ship(64, 64))] * 40)
    noise = rng.integers(-20, 20, images.shape)
    images = np.clip(images + noise, 0, 255).astype(np.uint8)
    return Split(images, np.full(40, 8), np.arange(40))
