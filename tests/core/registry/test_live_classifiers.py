"""Classifiers of live revisions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.folder import BUNDLED
from core.errors import ModelNotFoundError
from core.registry.bases import Bases, ClassifierLoader
from core.registry.failures import FailureLog
from core.registry.live_classifiers import LiveClassifiers, Timings
from core.registry.live_revisions import LiveRevisions
from core.registry.revisions import RevisionStore
from core.registry.servable_bundles import ServableBundles
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with two bundled models."""
    for name in ("baseline", "classic"):
        shutil.copytree(ROOT / "models" / name, tmp_path / "models" / name)
    return Settings(models=tmp_path / "models", home=tmp_path / "home", threads=1)


@pytest.fixture
def failures() -> FailureLog:
    return FailureLog()


@pytest.fixture
def classifiers(settings: Settings, failures: FailureLog) -> Iterator[LiveClassifiers]:
    live, revisions = LiveRevisions(settings, failures), RevisionStore(settings.home)
    loader = ClassifierLoader(Bases(settings.models, revisions), threads=1)
    servable = ServableBundles(settings.models, revisions, live)
    classifiers = LiveClassifiers(servable, live, loader, failures, Timings())
    yield classifiers
    classifiers.close()
    live.close()


def test_concurrent_calls_load_a_model_once(classifiers: LiveClassifiers) -> None:
    assert classifiers.find("classic") is None
    with ThreadPoolExecutor(8) as pool:
        loaded = set(pool.map(classifiers.load, ["classic"] * 8))
    assert loaded == {classifiers.find("classic")}
    assert classifiers.names() == ["classic"]


def test_unknown_model_is_not_loaded(classifiers: LiveClassifiers) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no model 'x'"):
        classifiers.load("x")
    assert classifiers.names() == []


def test_unloadable_model_does_not_block_updates_of_others(
    settings: Settings, classifiers: LiveClassifiers, failures: FailureLog
) -> None:
    received: list[str] = []
    failures.add_listener(received.append)
    (settings.models / "baseline" / "config.json").write_text("{")
    with closing(Store.open(settings)) as store:
        store.live.promote(
            {"baseline": BUNDLED, "classic": BUNDLED}, {"baseline": "0", "classic": "0"}
        )
    classifiers.refresh()
    assert classifiers.names() == ["classic"]
    unloadable, not_refreshed = received
    assert unloadable.startswith("baseline cannot be loaded: ")
    assert not_refreshed.startswith("baseline was not refreshed, the loaded revision is kept: ")
