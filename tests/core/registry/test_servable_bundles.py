"""Bundles of a model that may serve, in order of preference."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.folder import BUNDLED, Bundle
from core.errors import BundleError, ModelNotFoundError
from core.registry.failures import FailureLog
from core.registry.live_revisions import LiveRevisions
from core.registry.revisions import RevisionStore
from core.registry.servable_bundles import ServableBundles
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.releases import retitled

MISSING = ("a" * 12, "b" * 12)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with one bundled model."""
    shutil.copytree(ROOT / "models" / "classic", tmp_path / "models" / "classic")
    return Settings(models=tmp_path / "models", home=tmp_path / "home")


@pytest.fixture
def live(settings: Settings) -> LiveRevisions:
    return LiveRevisions(settings, FailureLog())


@pytest.fixture
def servable(settings: Settings, live: LiveRevisions) -> ServableBundles:
    return ServableBundles(settings.models, RevisionStore(settings.home), live)


def test_live_and_last_good_come_before_the_bundled_one(
    settings: Settings, live: LiveRevisions, servable: ServableBundles
) -> None:
    with closing(Store.open(settings)) as store:
        for revision in MISSING:
            store.live.promote({"classic": revision}, {"classic": "0"})
    live.refresh()
    second, first, bundled = servable.of("classic")
    for error, revision in ((second, MISSING[1]), (first, MISSING[0])):
        assert isinstance(error, BundleError)
        assert f"Revision {revision} of classic is not installed" in str(error)
    assert isinstance(bundled, Bundle)
    assert bundled.revision == Bundle.open(settings.models / "classic").revision
    assert servable.is_live("classic", MISSING[1])
    assert not servable.is_live("classic", bundled.revision), "a fallback"
    live.close()


def test_promoted_bundled_revision_is_live(
    settings: Settings, live: LiveRevisions, servable: ServableBundles
) -> None:
    with closing(Store.open(settings)) as store:
        store.live.promote({"classic": BUNDLED}, {"classic": "0"})
    live.refresh()
    bundled = servable.bundled("classic")
    assert bundled is not None
    assert servable.is_live("classic", bundled.revision)
    assert servable.find("classic", bundled.revision) is bundled
    (bundled.folder / "config.json").write_text("{")
    assert not servable.is_live("classic", bundled.revision)
    live.close()


def test_bundle_and_metrics_are_read_again_once_their_files_change(
    settings: Settings, servable: ServableBundles
) -> None:
    before = servable.bundled("classic")
    assert before is not None
    assert servable.bundled("classic") is before
    assert servable.info(before) is servable.info(before)
    retitled(settings.models / "classic", "another title")
    after = servable.bundled("classic")
    assert after is not None
    assert after.config.title == servable.info(after).config.title == "another title"


def test_models_without_a_bundled_revision_are_named(
    settings: Settings, live: LiveRevisions, servable: ServableBundles
) -> None:
    assert servable.names() == ["classic"]
    with closing(Store.open(settings)) as store:
        store.live.promote({"baseline": MISSING[0]}, {})
    live.refresh()
    assert servable.names() == ["baseline", "classic"]
    assert servable.bundled("baseline") is None
    servable.check_exists("baseline")
    with pytest.raises(ModelNotFoundError, match=r"Available models: baseline, classic\."):
        servable.check_exists("../models/classic")
    live.close()
