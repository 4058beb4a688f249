from __future__ import annotations

import logging
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.folder import BUNDLED, Bundle, write_bundle
from core.bundle.leaderboard import save_unbundled
from core.errors import BundleError, ModelNotFoundError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a folder with copies of baseline and classic."""
    for name in ("baseline", "classic"):
        shutil.copytree(ROOT / "models" / name, tmp_path / "models" / name)
    return tmp_path / "models"


def test_promoted_model_is_loaded_before_its_first_request(models: Path, tmp_path: Path) -> None:
    settings = Settings(models=models, home=tmp_path / "home")
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        catalog.load("baseline")
        catalog.refresh()
        assert catalog.loaded() == ["baseline"]
        store.live.promote({"classic": BUNDLED}, {"baseline": "0", "classic": "0"})
        catalog.refresh()
        assert catalog.loaded() == ["baseline", "classic"]


def test_unreadable_model_is_not_listed(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalog = Catalog(Settings(models=models))
    names = [entry.name for entry in catalog.models()]
    assert names == sorted(names)
    (models / "baseline" / "config.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert [entry.name for entry in catalog.models()] == [n for n in names if n != "baseline"]
    assert "is not listed" in caplog.text
    (models / "classic" / "metrics.json").rename(models / "gone")
    with pytest.raises(ModelNotFoundError, match="There is no usable model in"):
        catalog.default()
    with pytest.raises(BundleError, match=r"metrics\.json cannot be read"):
        Catalog(Settings(models=models, model="classic")).default()
    (models / "gone").rename(models / "classic" / "metrics.json")
    assert catalog.default() == "classic"
    problems = catalog.problems()
    assert problems["classic"] is None
    assert "config.json is invalid" in str(problems["baseline"])


def test_default_is_the_best_model_for_photos(models: Path) -> None:
    assert Catalog(Settings(models=models)).default() == "classic"
    assert Catalog(Settings(models=models, model="baseline")).default() == "baseline"
    shutil.rmtree(models / "classic")
    assert Catalog(Settings(models=models)).default() == "baseline"
    for better in ("scratch", "mobilenet", "efficientnet"):
        bundle = Bundle.open(models / "baseline")
        files = {name: bundle.read(name) for name in bundle.config.sha256}
        config = bundle.config.model_copy(update={"name": better})
        write_bundle(models / better, config, files)
        assert Catalog(Settings(models=models)).default() == better


def test_retired_default_is_replaced_by_the_best_for_photos(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_unbundled(models, Bundle.open(models / "baseline"))
    shutil.rmtree(models / "baseline")
    catalog = Catalog(Settings(models=models, model="baseline"))
    failures: list[str] = []
    catalog.add_failure_listener(failures.append)
    assert [catalog.default(), catalog.default()] == ["classic", "classic"]
    assert caplog.text.count("baseline, which is no longer included; classic is used instead") == 1
    assert len(failures) == 1


def test_unknown_model_is_named_in_the_error(models: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no model 'x'\. Available models: baseline, classic"
    ):
        Catalog(Settings(models=models)).load("x")
    with pytest.raises(ModelNotFoundError, match="no model 'x'"):
        Catalog(Settings(models=models, model="x")).default()
    empty = Catalog(Settings(models=tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match="Train one with `tensight train classic`"):
        empty.load()
    assert empty.models() == []


def test_model_is_loaded_once(models: Path) -> None:
    catalog = Catalog(Settings(models=models))
    assert catalog.load("classic") is catalog.load()


@pytest.mark.parametrize(
    "name",
    ["../models/classic", "./classic", "classic/", "", ".", str(ROOT / "models" / "classic")],
)
def test_path_is_not_accepted_as_name(name: str) -> None:
    catalog = Catalog(Settings(models=ROOT / "models"))
    for look_up in (catalog.load, catalog.bundle):
        with pytest.raises(ModelNotFoundError):
            look_up(name)
    assert catalog.loaded() == []
