"""Settings with one bundled model."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.settings import Settings
from tests.support.rollouts import settings_with_model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_model(tmp_path)
