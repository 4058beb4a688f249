"""Releases survive killed processes and run beside each other."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from core.bundle.folder import BUNDLED
from core.registry.releases import Releases
from core.store.live import LiveRevision
from tests.conftest import ROOT
from tests.support.held_program import Hold
from tests.support.releases import (
    Installation,
    revisions_in,
)


def moments(home: Path, second: dict[str, str]) -> list[Callable[[], bool]]:
    """Return the state that a pull leaves, from its beginning to its end."""
    revisions = home / "revisions"

    def staged(what: str) -> Callable[[], bool]:
        return lambda: next(revisions.glob(f".staging-*/{what}"), None) is not None

    return [
        staged(""),
        lambda: next((home / "hub").rglob("*.incomplete"), None) is not None,
        (home / "hub" / "models--owner--models" / "snapshots").is_dir,
        staged("baseline/config.json"),
        staged("classic/config.json"),
        staged(f".{second['baseline']}"),
        staged(f".{second['baseline']}/baseline"),
        (revisions / second["baseline"]).is_dir,
        staged(f".{second['classic']}/classic"),
        (revisions / second["classic"]).is_dir,
    ]


@pytest.mark.parametrize(
    "moment",
    [pytest.param(i, marks=[] if i in (2, 6, 9) else pytest.mark.long) for i in range(10)],
)
def test_killed_pull_leaves_last_good_models_serving(
    moment: int, deployed: Installation, versions: dict[str, Path]
) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    shutil.rmtree(deployed.home / "hub")
    reached = moments(deployed.home, second)[moment]
    process = deployed.start("pull", "--promote")
    while process.poll() is None and not reached():
        time.sleep(0.0002)
    process.kill()
    process.communicate()
    answers = deployed.serving()
    # An installed revision may have become live between the check and the kill.
    assert answers == first or (moment == 9 and answers == second)
    assert {name: row.revision for name, row in deployed.live().items()} == answers
    deployed.succeed("pull", "--promote")
    assert deployed.serving() == second
    assert not list((deployed.home / "revisions").glob(".staging*"))


PROMOTE = """
import sys
from core.registry.releases import Releases
from core.settings import Settings
print("begins", flush=True)
Releases(Settings.read()).promote("classic", sys.stdin.readline().strip())
print("done", flush=True)
"""


def test_killed_promotion_is_complete_or_absent(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    first, second = (revisions_in(versions[v])["classic"] for v in ("first", "second"))
    deployed.succeed("pull")
    database = deployed.settings.database_file
    log = database.with_name(f"{database.name}-wal")

    def locked() -> bool:
        """Return whether a process holds the lock for changes of revisions."""
        with (deployed.home / "revisions" / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def written() -> bool:
        with suppress(FileNotFoundError):
            return log.stat().st_size > 0
        return False

    def changed() -> bool:
        with (
            suppress(sqlite3.OperationalError),  # it is being written
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
        ):
            rows = connection.execute("SELECT revision FROM live WHERE model = 'classic'")
            return bool(rows.fetchone()[0] == second)
        return False

    moments: list[tuple[Callable[[], bool], float]] = [
        (database.is_file, 0.0),
        *((locked, pause) for pause in (0.0, 0.005, 0.01, 0.02, 0.04)),
        *((written, pause) for pause in (0.0, 0.002)),
        *((changed, pause) for pause in (0.0, 0.01)),
    ]
    inside = done = 0
    for reached, pause in moments:
        process = deployed.python(PROMOTE)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        process.stdin.write(f"{second}\n")
        process.stdin.flush()
        while process.poll() is None and not reached():
            pass
        time.sleep(pause)
        held = locked()
        process.kill()
        out, _ = process.communicate()
        inside += held and "done" not in out
        answer = deployed.serving()["classic"]
        assert answer in (first, second)
        assert deployed.live()["classic"].revision == answer
        if answer == second:
            done += 1
            deployed.succeed("rollback", "classic")
    assert inside >= 3, "some kills fell while revisions were changed"
    assert 0 < done < len(moments), "some came too late, and some in time"


def test_concurrent_pulls_both_succeed(
    installation: Installation, versions: dict[str, Path]
) -> None:
    both = [installation.start("pull", "--promote") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert installation.serving() == revisions_in(versions["first"])


SLOW_PROBE = """
import sys
from pathlib import Path
if "core.registry.probe" in sys.orig_argv:
    # A process that nothing else is told of: what holds it lies beside this file.
    hold = Path(__file__).with_name("hold")
    if hold.exists():
        hold.read_bytes()
"""


def test_promotion_does_not_wait_for_a_pull(
    deployed: Installation, versions: dict[str, Path], tmp_path: Path
) -> None:
    first, second = (revisions_in(versions[each]) for each in ("first", "second"))

    def here() -> set[str]:
        return {revision for _, revision in deployed.installed()}

    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW_PROBE)
    hold = Hold(site)
    releases = Releases(deployed.settings)
    pulling = subprocess.Popen(
        [sys.executable, "-m", "core.cli", "models", "pull"],
        env=deployed.environment | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        hold.wait()
        assert releases.roll_back("classic").revision == BUNDLED
        releases.promote("classic", first["classic"])
        assert deployed.live()["classic"] == LiveRevision(first["classic"], BUNDLED)
        assert pulling.poll() is None, "it is still being tried"
        assert here() == set(first.values()), "and no candidate yet"
        hold.path.unlink()  # for the next model
        hold.release()
        _, err = pulling.communicate(timeout=120)
    finally:
        hold.release()
        pulling.kill()
        pulling.communicate()
        releases.close()
    assert pulling.returncode == 0, err
    assert here() == {*first.values(), *second.values()}
    assert {name: row.revision for name, row in deployed.live().items()} == first
