"""Downloads resume, stop in time and show progress on terminals only."""

from __future__ import annotations

import os
import pty
import random
import shutil
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.bundle.config import MODEL
from tests.support.releases import (
    NAMES,
    REPO,
    SYNC,
    Installation,
    revisions_in,
)
from tests.support.servers import wait_for


def test_broken_download_is_retried(installation: Installation, versions: dict[str, Path]) -> None:
    # The client goes on from the last whole 10 MB, so with files as small as these from the start.
    installation.hub.faults.cut = {f"baseline/{MODEL}": 2}
    installation.succeed("pull", "--promote")
    assert installation.hub.faults.cut == {f"baseline/{MODEL}": 0}
    assert installation.serving() == revisions_in(versions["first"])


def test_complete_files_are_read_from_the_cache(
    installation: Installation, versions: dict[str, Path]
) -> None:
    installation.hub.faults.cut = {f"classic/{MODEL}": -1}
    assert installation.run("pull").returncode == 1
    installation.hub.faults.cut = {}
    asked = len(installation.hub.asked)
    installation.succeed("pull", "--promote")
    again = [
        each
        for each in installation.hub.asked[asked:]
        if each.startswith("GET") and "/lfs/" in each
    ]
    assert [each.rpartition("/")[2] for each in again if "baseline" in each] == []
    assert any(f"classic/{MODEL}" in each for each in again)
    assert installation.serving() == revisions_in(versions["first"])


FETCH = """
import sys
from pathlib import Path
from core.errors import HubError
from core.registry import hub
path, folder = sys.stdin.readline().strip(), Path(sys.stdin.readline().strip())
commit = hub.resolve_commit("owner/models", "main", token=None)
files = [each for each in commit.files if each.path == path]
try:
    hub.fetch(commit, files, into=folder, cache=folder / "hub", token=None, timeout_s=1)
except HubError as error:
    sys.exit(str(error))
"""


def test_large_download_resumes_where_it_broke(installation: Installation, tmp_path: Path) -> None:
    path = f"large/{MODEL}"
    content = random.Random(0).randbytes(22_000_000)  # noqa: S311  # no secret
    installation.hub.repos[REPO].commit({path: content})
    installation.hub.ranges.clear()
    installation.hub.faults.cut = {path: 1}
    process = installation.python(FETCH)
    _, err = process.communicate(f"{path}\n{tmp_path}\n", timeout=120)
    assert process.returncode == 0, err
    assert [asked for _, asked in installation.hub.ranges] == [f"bytes={10 * 2**20}-"]
    assert (tmp_path / path).read_bytes() == content


def test_download_timeout_ends_the_process(installation: Installation, tmp_path: Path) -> None:
    installation.hub.faults.drip_s = 5
    asked = len(installation.hub.asked)
    process = installation.python(FETCH)
    # All of it would take a minute and more.
    _, err = process.communicate(f"classic/curves.png\n{tmp_path}\n", timeout=120)
    assert any("GET" in each and "curves.png" in each for each in installation.hub.asked[asked:])
    assert process.returncode == 1
    assert "The Hub cannot be reached, or the connection broke (TimeoutError). Nothing" in err


def shown_on_a_terminal(
    installation: Installation, command: list[str], until: Callable[[], bool]
) -> str:
    """Run a program whose stderr alone is a terminal, and return what it writes there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        command,
        env=installation.environment | {"TERM": "xterm"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""

    def read() -> None:
        nonlocal shown
        with suppress(OSError):  # nobody holds the other end any more
            while some := os.read(ours, 10_000):
                shown += some

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: process.poll() is not None or until())
    process.communicate(timeout=60)
    reader.join()
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def test_progress_is_shown_on_a_terminal_only(installation: Installation) -> None:
    models = [sys.executable, "-m", "core.cli", "models"]
    # A front pulls without progress output.
    front = [sys.executable, "-c", SYNC]
    assert (
        shown_on_a_terminal(installation, front, lambda: set(installation.live()) == set(NAMES))
        == ""
    )
    shutil.rmtree(installation.home)
    run = installation.run("pull")
    assert run.stderr == "To make one live, run: tensight models promote NAME REVISION\n"
    shutil.rmtree(installation.home)
    assert "Downloading" in shown_on_a_terminal(installation, [*models, "pull"], lambda: False)
    assert installation.run("push").stderr == ""
    del installation.hub.repos[REPO]
    assert MODEL in shown_on_a_terminal(installation, [*models, "push"], lambda: False)
