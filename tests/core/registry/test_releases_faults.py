"""A pull that fails changes nothing and says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.bundle.config import MODEL
from core.bundle.folder import Bundle, write_bundle
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.hub_server import Faults, Repo
from tests.support.releases import (
    NAMES,
    REPO,
    Installation,
    files_of,
    revisions_in,
)


def corrupt(
    change: Callable[[Installation, Path], Any],
) -> Callable[[Installation, dict[str, Path]], None]:
    """Publish a changed copy of the second version."""

    def publish(installation: Installation, versions: dict[str, Path]) -> None:
        folder = installation.home.parent / "corrupt"
        shutil.copytree(versions["second"], folder)
        change(installation, folder)
        installation.hub.repos[REPO].commit(files_of(folder))

    return publish


def swap_weights(installation: Installation, folder: Path) -> None:
    """Publish weights of another model, which the commit lists but config.json does not."""
    shutil.copy(folder / "baseline" / MODEL, folder / "classic" / MODEL)


def crashing(installation: Installation, folder: Path) -> None:
    out = folder.parent / "crashing.tflite"
    search = [
        sys.executable,
        "-m",
        "tests.support.crashing_model",
        str(folder / "classic" / MODEL),
        str(out),
    ]
    subprocess.run(search, cwd=ROOT, check=True)
    bundle = Bundle.open(folder / "classic")
    files = {name: bundle.read(name) for name in bundle.config.sha256}
    write_bundle(bundle.folder, bundle.config, files | {MODEL: out.read_bytes()})


def newer(installation: Installation, folder: Path) -> None:
    config = json.loads((folder / "classic" / "config.json").read_text())
    text = json.dumps(config | {"minimum_version": "99.0.0"})
    (folder / "classic" / "config.json").write_text(text)


def without_weights(installation: Installation, folder: Path) -> None:
    (folder / "classic" / MODEL).unlink()


def fault(**options: Any) -> Callable[[Installation, dict[str, Path]], None]:
    def break_it(installation: Installation, versions: dict[str, Path]) -> None:
        for name, value in options.items():
            setattr(installation.hub.faults, name, value)

    return break_it


def replaced(length: Callable[[int], int]) -> Callable[[Installation, dict[str, Path]], None]:
    def break_it(installation: Installation, versions: dict[str, Path]) -> None:
        size = len((versions["second"] / "classic" / MODEL).read_bytes())
        installation.hub.faults.sent = {f"classic/{MODEL}": b"x" * length(size)}

    return break_it


def without_repository(installation: Installation, versions: dict[str, Path]) -> None:
    installation.hub.repos[REPO] = Repo()
    del installation.hub.repos[REPO]


def without_branch(installation: Installation, versions: dict[str, Path]) -> None:
    del installation.hub.repos[REPO].refs["main"]


HUGE = [
    {"type": "file", "path": f"huge/{name}", "size": 5_000_000, "oid": "0" * 40}
    for name in ("config.json", MODEL)
]


FAULTS: dict[str, tuple[Callable[[Installation, dict[str, Path]], None], str]] = {
    "gated files": (
        fault(status={"resolve": 403}, code="GatedRepo"),
        "Request access on its page",
    ),
    "gated": (fault(status={"api": 403}, code="GatedRepo"), "Request access on its page"),
    "unauthorized": (fault(status={"api": 401}), "TENSIGHT_HUB_TOKEN"),
    "5xx": (fault(status={"api": 500}), "Try again"),
    "storage 5xx": (fault(status={"storage": 500}), "Try again"),
    "slow": (fault(pause_s=30), "The Hub cannot be reached"),
    "truncated": (fault(cut={f"classic/{MODEL}": -1}), "try again"),
    "wrong bytes": (replaced(lambda size: size), "do not match the digest in the commit"),
    "wrong size": (replaced(lambda size: size - 7), "try again"),
    "login page": (fault(answer=b"<html>Welcome to the hotel"), "redirects to a login page"),
    "no keys": (fault(answer=b"{}"), "redirects to a login page"),
    "a list": (fault(answer=b"[]"), "redirects to a login page"),
    "no revision": (without_branch, "has no branch, tag or commit 'main'"),
    "no repository": (without_repository, f"Repository {REPO} does not exist"),
    "huge config": (fault(tree=HUGE), "huge/config.json of owner/models has 5,000,000 bytes"),
    "outside": (
        fault(tree=[{"type": "file", "path": "../evil", "size": 1, "oid": "0" * 40}]),
        "would be written outside",
    ),
    "lying": (corrupt(swap_weights), "its SHA-256 differs"),
    "crashing": (corrupt(crashing), "crashes the inference engine (signal "),
    "newer": (corrupt(newer), "needs TenSight 99.0.0"),
    "no weights": (corrupt(without_weights), f"classic in {REPO} has no {MODEL}"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_failed_pull_changes_nothing_and_names_the_remedy(
    name: str, deployed: Installation, versions: dict[str, Path]
) -> None:
    break_it, message = FAULTS[name]
    break_it(deployed, versions)
    before = deployed.live(), deployed.serving(), deployed.installed()
    with closing(Catalog(deployed.settings)) as running:
        loaded = {each: running.load(each) for each in NAMES}
        running.watch()
        with deployed.start("pull", "--promote") as process:
            while process.poll() is None:
                for each in NAMES:
                    serving = running.load(each)
                    assert serving is loaded[each], "what runs goes on with what it has"
                    revision = serving.predict(drawings.ship(64, 48)).revision
                    assert revision in before[1].values()
                time.sleep(0.1)
            _, err = process.communicate()
        running.refresh()
        assert {each: running.load(each) for each in NAMES} == loaded
    assert process.returncode == 1
    assert message in err, err
    assert "Traceback" not in err
    if name in ("lying", "crashing"):
        assert "its publisher must publish it again" in err, "pulling again would not help"
    assert (deployed.live(), deployed.serving(), deployed.installed()) == before
    assert [p.name for p in (deployed.home / "revisions").glob(".staging*")] == []


# One fault of each way to leave the cache of downloads; the repetitions are long.
_QUICK = ("truncated", "wrong bytes", "crashing")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name not in _QUICK)) for name in FAULTS],
)
def test_pull_succeeds_once_the_fault_is_gone(
    name: str, deployed: Installation, versions: dict[str, Path]
) -> None:
    break_it, _ = FAULTS[name]
    break_it(deployed, versions)
    assert deployed.run("pull", "--promote").returncode == 1
    deployed.hub.faults = Faults()
    deployed.hub.repos.setdefault(REPO, Repo()).commit(files_of(versions["second"]))
    deployed.succeed("pull", "--promote")
    assert deployed.serving() == revisions_in(versions["second"])


def test_pull_without_network_is_reported_in_one_line(
    installation: Installation, black_hole: str
) -> None:
    # At once: one of them waits for ten seconds.
    runs = [installation.start("pull", HF_ENDPOINT=e) for e in ("http://127.0.0.1:9", black_hole)]
    offline = installation.run("pull", HF_HUB_OFFLINE="1")
    for run in runs:
        _, err = run.communicate(timeout=120)
        assert run.returncode == 1
        assert "The Hub cannot be reached" in err
        assert err.count("\n") == 1, "one line"
    assert "HF_HUB_OFFLINE is set" in offline.stderr


def test_token_is_sent_to_the_hub_only(installation: Installation) -> None:
    installation.hub.token = "t"
    installation.hub.secrets.clear()
    run = installation.run("pull")
    assert run.returncode == 1
    assert "TENSIGHT_HUB_TOKEN" in run.stderr
    assert "classic" in installation.succeed("pull", TENSIGHT_HUB_TOKEN="t")
    assert installation.hub.secrets == [], "large file storage is another host"


@pytest.mark.parametrize("token", ["", "t"])
def test_token_saved_by_the_client_is_not_sent(installation: Installation, token: str) -> None:
    installation.hub.tokens.clear()
    installation.succeed("pull", HF_TOKEN="saved", TENSIGHT_HUB_TOKEN=token)
    assert set(installation.hub.tokens) == ({"Bearer t"} if token else set())
