"""Publish models to a Hub on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.bundle.folder import Bundle, write_bundle
from tests.support.hub_server import Faults
from tests.support.releases import (
    Installation,
    files_of,
    revisions_in,
)


def test_published_models_can_be_pulled(
    installation: Installation, versions: dict[str, Path]
) -> None:
    settings = {"TENSIGHT_MODELS": str(versions["second"]), "TENSIGHT_HUB_TOKEN": "t"}
    out = installation.succeed("push", "--repo", "owner/new", "--tag", "v2", **settings)
    repo = installation.hub.repos["owner/new"]
    assert out == f"{repo.refs['main']} v2\n"
    assert repo.refs["v2"] == repo.refs["main"]
    published = dict(repo.commits[repo.refs["v2"]])
    del published[".gitattributes"]
    assert published == files_of(versions["second"])
    installation.succeed("pull", "--repo", "owner/new", "--revision", "v2", "--promote")
    assert installation.serving() == revisions_in(versions["second"])
    again = installation.run("push", "--repo", "owner/new", "--tag", "v2", **settings)
    assert again.returncode == 1
    assert "already has a tag v2. Nothing was uploaded." in again.stderr
    # The next version of a model has a file less.
    fewer = installation.home.parent / "fewer"
    shutil.copytree(versions["second"], fewer)
    bundle = Bundle.open(fewer / "classic")
    files = {name: bundle.read(name) for name in bundle.config.sha256 if name != "curves.png"}
    write_bundle(bundle.folder, bundle.config, files)
    installation.succeed(
        "push", "--repo", "owner/new", **(settings | {"TENSIGHT_MODELS": str(fewer)})
    )
    assert "classic/curves.png" not in repo.commits[repo.refs["main"]]
    installation.succeed("pull", "--repo", "owner/new")


def test_created_repository_is_public_by_default(installation: Installation) -> None:
    settings = {"TENSIGHT_HUB_TOKEN": "t"}
    installation.succeed("push", "--repo", "owner/open", **settings)
    assert installation.hub.created["owner/open"]["visibility"] == "public"
    installation.succeed("push", "--repo", "owner/closed", "--private", **settings)
    assert installation.hub.created["owner/closed"]["visibility"] == "private"


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            "/preupload/",
            "Check on its page on the Hub whether a commit was created. Try again later.",
        ),
        ("/refs", "Nothing was uploaded. Try again later."),
        ("/repos/create", "Nothing was uploaded. Try again later."),
    ],
)
def test_failed_upload_reports_what_was_done(
    installation: Installation, where: str, told: str
) -> None:
    installation.hub.faults.status = {where: 501}
    run = installation.run("push", "--repo", "owner/half", "--tag", "v1", TENSIGHT_HUB_TOKEN="t")
    assert run.returncode == 1
    assert f"(HTTP status 501). {told}" in run.stderr
    assert "Nothing was changed" not in run.stderr


def test_publication_without_its_tag_is_reported(installation: Installation) -> None:
    push = ("push", "--repo", "owner/untagged", "--tag", "v1")
    installation.hub.faults.status = {"/tag/": 403}
    run = installation.run(*push, TENSIGHT_HUB_TOKEN="t")
    commit = installation.hub.repos["owner/untagged"].refs["main"]
    assert run.returncode == 1
    assert f"owner/untagged is published as commit {commit}, but not tagged v1: " in run.stderr
    assert "Nothing was changed" not in run.stderr
    installation.hub.faults = Faults()
    assert installation.succeed(*push, TENSIGHT_HUB_TOKEN="t") == f"{commit} v1\n"
    assert installation.hub.repos["owner/untagged"].refs["v1"] == commit


def test_corrupt_model_is_not_published(
    installation: Installation, versions: dict[str, Path]
) -> None:
    folder = installation.home.parent / "mine"
    shutil.copytree(versions["second"], folder)
    (folder / "classic" / "metrics.json").write_text("{}")
    run = installation.run("push", "--repo", "owner/bad", TENSIGHT_MODELS=str(folder))
    assert run.returncode == 1
    assert "its SHA-256 differs" in run.stderr
    (folder / "classic" / "config.json").unlink()
    run = installation.run("push", "--repo", "owner/bad", TENSIGHT_MODELS=str(folder))
    assert run.returncode == 1
    assert "is not a model folder" in run.stderr
    assert "owner/bad" not in installation.hub.repos
