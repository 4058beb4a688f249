"""The store of installed revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.registry.revisions import RevisionStore
from tests.support.releases import (
    Installation,
    revisions_in,
)


def test_pull_repairs_a_damaged_origin_file(
    installation: Installation, versions: dict[str, Path]
) -> None:
    revision = revisions_in(versions["first"])["classic"]
    installation.succeed("pull")
    origin = RevisionStore(installation.home).path("classic", revision).parent / "origin.json"
    for damaged in ("{", "[]", '{"name": "nope"}'):
        origin.write_text(damaged)
        assert installation.run("promote", "classic", revision).returncode == 2
        installation.succeed("pull")
        assert installation.succeed("promote", "classic", revision).endswith("is live\n")
    assert installation.serving()["classic"] == revision


def test_lock_passes_errors_of_its_body_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), RevisionStore(tmp_path).changing():
        raise FileNotFoundError("of something else")


def test_unwritable_home_is_reported(installation: Installation) -> None:
    installation.home.mkdir()
    (installation.home / "revisions").write_text("in the way")
    run = installation.run("pull")
    assert run.returncode == 1
    assert "TENSIGHT_HOME" in run.stderr
    assert "Traceback" not in run.stderr
