"""Pull, promote, roll back and collect revisions, with a Hub on loopback."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.config import MODEL
from core.bundle.folder import BUNDLED
from core.registry.releases import Releases
from core.registry.revisions import RevisionStore
from core.store.live import LiveRevision
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.releases import (
    NAMES,
    REPO,
    Installation,
    files_of,
    retitled,
    revisions_in,
)
from tests.support.rollouts import begin_rollout, install_candidate, settings_with_model
from tests.support.servers import wait_for


def test_pulled_revision_serves_once_promoted(
    installation: Installation, versions: dict[str, Path]
) -> None:
    bundled, first = revisions_in(versions["bundled"]), revisions_in(versions["first"])
    assert installation.serving() == bundled
    assert installation.succeed("pull") == "".join(f"{name} {first[name]}\n" for name in NAMES)
    assert installation.serving() == bundled, "a candidate does not answer"
    listed = installation.succeed("list")
    assert "Installed, not serving:" in listed
    assert all(revision in listed for revision in (*bundled.values(), *first.values()))
    assert installation.succeed("promote", "classic", first["classic"][:6]).endswith("is live\n")
    assert installation.serving() == bundled | {"classic": first["classic"]}
    assert "no longer" in installation.succeed("rollback", "classic")
    assert installation.serving() == bundled
    installation.succeed("rollback", "classic")
    assert installation.serving() == bundled | {"classic": first["classic"]}
    assert "good" in installation.succeed("verify")


@pytest.mark.parametrize("redirect", [True, False])
def test_pull_with_promote_makes_all_models_live(
    installation: Installation, versions: dict[str, Path], redirect: bool
) -> None:
    installation.hub.redirect = redirect
    installation.succeed("pull", "--promote", "--revision", "v1")
    assert installation.serving() == revisions_in(versions["first"])
    for name in NAMES:
        there = RevisionStore(installation.home).path(name, revisions_in(versions["first"])[name])
        assert files_of(there) == files_of(versions["first"] / name)
    asked = len(installation.hub.asked)
    installation.succeed("pull", "--promote")
    weights = [a for a in installation.hub.asked[asked:] if a.startswith("GET") and MODEL in a]
    assert weights == [], "what is here is not downloaded again"


def test_remote_list_downloads_no_weights(
    installation: Installation, versions: dict[str, Path]
) -> None:
    asked = len(installation.hub.asked)
    rows = json.loads(installation.succeed("list", "--remote", "--json"))
    assert {row["name"]: row["revision"] for row in rows} == revisions_in(versions["first"])
    assert [row["here"] for row in rows] == [False, False]
    assert not any(MODEL in request for request in installation.hub.asked[asked:])
    installation.succeed("pull")
    assert "yes" in installation.succeed("list", "--remote")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "--revision", "nope"], "has no branch, tag or commit 'nope'"),
        (["pull", "--repo", "owner/none"], "Repository owner/none does not exist"),
        (["promote", "classic", "ffff"], "Revision ffff of classic is not installed"),
        (["promote", "nope", "ffff"], "Installed revisions of nope: none"),
        (["rollback", "nope"], "Cannot roll back nope: "),
    ],
)
def test_missing_revision_or_repository_is_reported(
    installation: Installation, arguments: list[str], message: str
) -> None:
    run = installation.run(*arguments)
    assert run.returncode in (1, 2)
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_pull_without_repository_is_refused(installation: Installation) -> None:
    run = installation.run("pull", TENSIGHT_HUB_REPO="")
    assert run.returncode == 1
    assert "set TENSIGHT_HUB_REPO" in run.stderr


def test_pulled_copy_of_bundled_revision_can_be_promoted(
    installation: Installation, versions: dict[str, Path]
) -> None:
    installation.hub.repos[REPO].commit(files_of(versions["bundled"]))
    bundled = revisions_in(versions["bundled"])
    installation.succeed("pull", "--promote")
    assert installation.live() == {name: LiveRevision(bundled[name], BUNDLED) for name in NAMES}
    installation.succeed("gc")
    assert len(installation.installed()) == 2
    assert installation.succeed("rollback", "classic") == (
        f"classic bundled is live, no longer {bundled['classic']}\n"
    )
    assert installation.succeed("promote", "classic", bundled["classic"]).endswith("is live\n")


def test_gc_deletes_revisions_neither_live_nor_last_good(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    deployed.succeed("pull", "--promote")
    third = deployed.home.parent / "third"
    shutil.copytree(versions["second"], third)
    revision = retitled(third / "classic", "third")
    deployed.hub.repos[REPO].commit(files_of(third))
    deployed.succeed("pull")
    before = deployed.serving()
    assert deployed.succeed("gc") == f"{revision}\n"
    kept = {(e.bundle.config.name, e.bundle.revision) for e in RevisionStore(deployed.home).all()}
    for version in ("first", "second"):
        assert kept >= set(revisions_in(versions[version]).items())
    assert len(kept) == 4
    assert deployed.serving() == before
    deployed.succeed("rollback", "classic")


def test_gc_keeps_the_cache_of_a_running_pull(
    installation: Installation, versions: dict[str, Path]
) -> None:
    installation.hub.faults.drip_s = 0.2
    process = installation.start("pull", "--promote")
    blobs = installation.home / "hub" / "models--owner--models" / "blobs"
    # Neither a download in progress (*.incomplete) nor a short-lived file of the client (tmp_*).
    whole = wait_for_one(blobs, "[!.t]*[!e]")
    assert installation.succeed("gc") == ""
    assert whole.is_file()
    installation.hub.faults.drip_s = 0
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert installation.serving() == revisions_in(versions["first"])
    installation.succeed("gc")
    assert not blobs.exists()


def wait_for_one(folder: Path, pattern: str) -> Path:
    """Wait for a file in a folder, and return it."""
    wait_for(lambda: next(folder.glob(pattern), None) is not None)
    return next(folder.glob(pattern))


def test_verify_reports_and_gc_deletes_damaged_revisions(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    deployed.succeed("pull")
    revisions = RevisionStore(deployed.home)
    (revisions.path("classic", first["classic"]) / "config.json").write_text("{")
    (revisions.path("classic", second["classic"]) / "config.json").write_text("{")
    shutil.rmtree(revisions.path("baseline", first["baseline"]).parent)
    run = deployed.run("verify")
    assert run.returncode == 1
    assert run.stdout.count("is invalid") == 2
    assert f"baseline {first['baseline']}: it is live" in run.stdout
    gone = deployed.succeed("gc").split()
    assert sorted(gone) == sorted(second.values()), "not what is live, damaged as it is"
    deployed.succeed("pull", "--revision", "v1")
    assert deployed.run("verify").returncode == 0
    assert deployed.serving() == first


def test_documented_release_commands_run(
    installation: Installation, versions: dict[str, Path]
) -> None:
    """Run the commands in their order, as an operator does; the bundled models are published."""
    page = (ROOT / "docs" / "DEPLOYMENT.md").read_text("utf-8")
    block = page.split("Publish, pull, promote and roll back:")[1]
    block = block.split("```sh\n")[1].split("```")[0]
    installation.models = installation.home.parent / "models"
    shutil.copytree(versions["bundled"], installation.models)
    shutil.copytree(installation.models / "classic", installation.models / "scratch")
    config = json.loads((installation.models / "scratch" / "config.json").read_text("utf-8"))
    text = json.dumps(config | {"name": "scratch"})
    (installation.models / "scratch" / "config.json").write_text(text)
    del installation.hub.repos[REPO]
    for line in block.splitlines():
        program, *arguments = line.split()
        assert program == ".venv/bin/tensight"
        if arguments[0] == "models":
            installation.succeed(*arguments[1:], TENSIGHT_HUB_TOKEN="t")


def test_garbage_collection_keeps_candidates(tmp_path: Path) -> None:
    settings = settings_with_model(tmp_path)
    candidate, other = install_candidate(settings), install_candidate(settings, "Other")
    with closing(Store.open(settings)) as store:
        begin_rollout(store, settings, candidate)
        assert Releases(settings, store).gc()[0] == [other]
