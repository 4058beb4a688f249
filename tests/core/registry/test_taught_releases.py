"""Taught models in the registry, with a Hub on loopback."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore, StoredRevision
from core.settings import Settings
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.hub_server import Repo
from tests.support.releases import Installation, files_of, retitled
from tests.support.taught import write_taught

DATE = "2026-11-27T00:00:00+00:00"


def install(home: Path, folder: Path) -> Bundle:
    """Install a model folder as a candidate, as teaching does."""
    store = RevisionStore(home)
    with store.staging() as staging:
        shutil.copytree(folder, staging / folder.name)
        draft = StoredRevision(Bundle.open(staging / folder.name), None, None, DATE)
        with store.changing():
            return store.add(draft)


@pytest.fixture
def taught(installation: Installation, tmp_path: Path) -> Bundle:
    """Return a model that was taught on the bundled `classic`."""
    base = Bundle.open(installation.models / "classic")
    return write_taught(tmp_path / "made" / "shapes", base)


def repository(installation: Installation, *folders: Path) -> None:
    files = {
        f"{folder.name}/{name}": content
        for folder in folders
        for name, content in files_of(folder).items()
    }
    installation.hub.repos["owner/taught"] = Repo()
    installation.hub.repos["owner/taught"].commit(files)


def test_taught_candidate_is_promoted_and_rolled_back(
    installation: Installation, taught: Bundle, tmp_path: Path
) -> None:
    first = install(installation.home, taught.folder)
    second = install(
        installation.home,
        write_taught(
            tmp_path / "again" / "shapes", Bundle.open(installation.models / "classic"), seed=1
        ).folder,
    )
    listed = installation.succeed("list")
    assert "this computer" in listed
    installation.succeed("promote", "shapes", first.revision)
    installation.succeed("promote", "shapes", second.revision)
    with closing(Catalog(installation.settings)) as catalog:
        assert catalog.load("shapes").revision == second.revision
        assert catalog.load("shapes").backbone is catalog.load("classic").backbone
    installation.succeed("rollback", "shapes")
    with closing(Catalog(installation.settings)) as catalog:
        assert catalog.load("shapes").revision == first.revision
        assert "shapes" in [each.name for each in catalog.models()]
    assert installation.succeed("verify").count("good") == 4


def test_hundred_taught_models_share_one_engine(installation: Installation, tmp_path: Path) -> None:
    models = tmp_path / "many"
    shutil.copytree(ROOT / "models" / "baseline", models / "baseline")
    first = write_taught(models / "taught0", Bundle.open(models / "baseline"))
    catalog = Catalog(Settings(models=models, threads=1))
    backbone = catalog.load("taught0").backbone
    for i in range(1, 100):
        shutil.copytree(first.folder, models / f"taught{i}")
        text = (models / f"taught{i}" / "config.json").read_text()
        renamed = text.replace('"taught0"', f'"taught{i}"')
        (models / f"taught{i}" / "config.json").write_text(renamed)
        assert catalog.load(f"taught{i}").backbone is backbone
    assert len(catalog.loaded()) == 100
    catalog.close()


def test_taught_model_is_pushed_with_its_base_and_pulled_elsewhere(
    installation: Installation, taught: Bundle, tmp_path: Path
) -> None:
    install(installation.home, taught.folder)
    settings = {"TENSIGHT_HUB_TOKEN": "t"}
    installation.succeed("push", "shapes", "--repo", "owner/taught", **settings)
    repo = installation.hub.repos["owner/taught"]
    published = {name.split("/")[0] for name in repo.commits[repo.refs["main"]]}
    assert published == {".gitattributes", "classic", "shapes"}
    other = Installation(installation.hub, tmp_path / "other", tmp_path / "none")
    (tmp_path / "none").mkdir()
    other.succeed("pull", "--repo", "owner/taught", "--promote")
    with closing(Catalog(other.settings)) as catalog:
        prediction = catalog.load("shapes").predict(drawings.ship(64, 48))
    assert (prediction.model, prediction.revision) == ("shapes", taught.revision)


def test_pull_names_the_base_that_is_missing(
    installation: Installation, taught: Bundle, tmp_path: Path
) -> None:
    repository(installation, taught.folder)
    other = Installation(installation.hub, tmp_path / "other", tmp_path / "none")
    (tmp_path / "none").mkdir()
    run = other.run("pull", "--repo", "owner/taught")
    assert run.returncode == 1
    sha256 = taught.config.base.sha256[:12] if taught.config.base else ""
    assert f"was taught on the model classic with the SHA-256 {sha256}" in run.stderr
    assert "models pull --repo OWNER/NAME" in run.stderr
    assert other.installed() == []
    # With the base, here another revision that is bundled, it can be pulled.
    installation.succeed("pull", "--repo", "owner/taught", "--promote")
    assert installation.live()["shapes"].revision == taught.revision


def test_base_is_found_after_an_upgrade_and_kept_by_gc(
    installation: Installation, taught: Bundle
) -> None:
    base = install(installation.home, installation.models / "classic")
    mine = install(installation.home, taught.folder)
    installation.succeed("promote", "shapes", mine.revision)
    retitled(installation.models / "classic", "of another version")
    unused = install(installation.home, installation.models / "baseline")
    assert installation.succeed("gc") == f"{unused.revision}\n"
    assert {revision for _, revision in installation.installed()} == {base.revision, mine.revision}
    with closing(Catalog(installation.settings)) as catalog:
        assert catalog.load("shapes").revision == mine.revision
        assert catalog.load("classic").revision != base.revision


def test_missing_base_is_an_error_when_loading_and_promoting(
    installation: Installation, taught: Bundle
) -> None:
    mine = install(installation.home, taught.folder)
    installation.succeed("promote", "shapes", mine.revision)
    retitled(installation.models / "classic", "of another version")
    with closing(Catalog(installation.settings)) as catalog:
        with pytest.raises(BundleError, match=r"taught on the model classic .* not installed"):
            catalog.load("shapes")
        problem = catalog.problems()[f"shapes {mine.revision}"]
        assert "not installed" in str(problem)
    run = installation.run("promote", "shapes", mine.revision)
    assert "was taught on the model classic" in run.stderr
    assert run.returncode == 1


def test_push_of_an_unknown_model_is_refused(installation: Installation) -> None:
    run = installation.run("push", "nothing", "--repo", "owner/taught")
    assert run.returncode == 2
    assert "no model 'nothing' to publish" in run.stderr
