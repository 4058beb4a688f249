"""Models from a Hub on loopback: pulled, promoted, rolled back, published; and every fault."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import pty
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from core.bundle.config import MODEL
from core.bundle.folder import BUNDLED, Bundle, write_bundle
from core.inference.classifier import Classifier
from core.registry import releases
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore
from core.serving.local import LocalPredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings
from core.store.live import LiveRevision
from core.store.store import Store
from tests.conftest import ROOT
from tests.hub_server import Faults, HubServer, Repo
from tests.support import drawings
from tests.support.held_program import Hold
from tests.support.servers import free_port, wait_for, wait_until_it_answers
from tests.support.telegram_server import TelegramServer

REPO = "owner/models"
NAMES = ("baseline", "classic")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@dataclass
class Desk:
    """A home, a folder of bundled models, and the Hub that `tensight` asks."""

    hub: HubServer
    home: Path
    models: Path

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, models=self.models, hub_repo=REPO, threads=1)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TENSIGHT_", "HF_"))},
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(self.home / "hf"),
            "PYTHONPATH": str(ROOT),
            "TENSIGHT_HOME": str(self.home),
            "TENSIGHT_MODELS": str(self.models),
            "TENSIGHT_HUB_REPO": REPO,
        }

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "core.cli", "models", *arguments],
            env=self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, code: str, **settings: str) -> subprocess.Popen[str]:
        """A process of its own: the client reads HF_ENDPOINT once, when it is imported."""
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def front(
        self, *command: str, **settings: str
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A front as long as it is needed, and its log; it must end well once it is told to."""
        log = self.home.parent / f"{command[0]}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "core.cli", *command],
                env=self.environment | settings,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process, log
            process.terminate()
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **settings)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def good(self, *arguments: str, **settings: str) -> str:
        """What it printed, once it did what it was asked."""
        run = self.run(*arguments, **settings)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def answers(self) -> dict[str, str]:
        """Which revision of each model answers in a process that starts now."""
        catalog = Catalog(self.settings)
        revisions = {}
        for name in NAMES:
            classifier = catalog.load(name)
            assert sum(classifier.predict(drawings.ship(64, 48)).scores.values()) > 0.99
            revisions[name] = classifier.revision
        catalog.close()
        return revisions

    def here(self) -> list[tuple[str, str]]:
        """Which revisions were brought here."""
        found = RevisionStore(self.home).all()
        return [(each.bundle.config.name, each.bundle.revision) for each in found]

    def live(self) -> dict[str, LiveRevision]:
        store = Store.open(self.settings)
        live = store.live.all()
        store.close()
        return live


def retitled(folder: Path, title: str) -> str:
    """Another revision of a model; the same weights, in a file of other bytes."""
    bundle = Bundle.open(folder)
    config = bundle.config.model_copy(update={"title": title})
    files = {name: bundle.read(name) for name in config.sha256}
    files[MODEL] += title.encode()  # the engine reads no further than the tables lead
    return write_bundle(folder, config, files).revision


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as `models/`: what is bundled, and two versions for the Hub."""
    folders = {}
    for version in ("bundled", "first", "second"):
        folder = folders[version] = tmp_path_factory.mktemp(version)
        for name in NAMES:
            shutil.copytree(ROOT / "models" / name, folder / name)
            retitled(folder / name, f"{name}, {version}")
        (folder / "README.md").write_text(f"# {version}\n")
    return folders


def revisions_in(folder: Path) -> dict[str, str]:
    return {name: Bundle.open(folder / name).revision for name in NAMES}


@pytest.fixture
def desk(hub: HubServer, versions: dict[str, Path], tmp_path: Path) -> Iterator[Desk]:
    """Nothing pulled yet; the Hub has the first version, tagged v1."""
    hub.repos[REPO] = Repo()
    sha = hub.repos[REPO].commit(files_of(versions["first"]))
    hub.repos[REPO].refs["v1"] = sha
    hub.faults = Faults()
    hub.token = None
    hub.redirect = True
    yield Desk(hub, tmp_path / "home", versions["bundled"])
    hub.faults = Faults()


@pytest.fixture(scope="module")
def pulled(versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where the first version was pulled and made live, to be copied."""
    # From a Hub of its own: of the other, a test may have asked that it refuse.
    with HubServer().running() as hub:
        hub.repos[REPO] = Repo()
        hub.repos[REPO].commit(files_of(versions["first"]))
        desk = Desk(hub, tmp_path_factory.mktemp("pulled") / "home", versions["bundled"])
        desk.good("pull", "--promote")
    return desk.home


@pytest.fixture
def deployed(desk: Desk, versions: dict[str, Path], pulled: Path) -> Desk:
    """The first version is live; the second is the Hub's newest."""
    shutil.copytree(pulled, desk.home, symlinks=True)
    desk.hub.repos[REPO].commit(files_of(versions["second"]))
    return desk


def test_what_was_pulled_answers_once_it_is_promoted(desk: Desk, versions: dict[str, Path]) -> None:
    bundled, first = revisions_in(versions["bundled"]), revisions_in(versions["first"])
    assert desk.answers() == bundled
    assert desk.good("pull") == "".join(f"{name} {first[name]}\n" for name in NAMES)
    assert desk.answers() == bundled, "a candidate does not answer"
    listed = desk.good("list")
    assert "Here, and not live:" in listed
    assert all(revision in listed for revision in (*bundled.values(), *first.values()))
    assert desk.good("promote", "classic", first["classic"][:6]).endswith("is live\n")
    assert desk.answers() == bundled | {"classic": first["classic"]}
    assert "no longer" in desk.good("rollback", "classic")
    assert desk.answers() == bundled
    desk.good("rollback", "classic")
    assert desk.answers() == bundled | {"classic": first["classic"]}
    assert "good" in desk.good("verify")


@pytest.mark.parametrize("redirect", [True, False])
def test_pull_and_promote_in_one_step(
    desk: Desk, versions: dict[str, Path], redirect: bool
) -> None:
    desk.hub.redirect = redirect
    desk.good("pull", "--promote", "--revision", "v1")
    assert desk.answers() == revisions_in(versions["first"])
    for name in NAMES:
        there = RevisionStore(desk.home).path(name, revisions_in(versions["first"])[name])
        assert files_of(there) == files_of(versions["first"] / name)
    asked = len(desk.hub.asked)
    desk.good("pull", "--promote")
    weights = [a for a in desk.hub.asked[asked:] if a.startswith("GET") and MODEL in a]
    assert weights == [], "what is here is not downloaded again"


def test_what_is_there_is_listed_without_the_weights(desk: Desk, versions: dict[str, Path]) -> None:
    asked = len(desk.hub.asked)
    rows = json.loads(desk.good("list", "--remote", "--json"))
    assert {row["name"]: row["revision"] for row in rows} == revisions_in(versions["first"])
    assert [row["here"] for row in rows] == [False, False]
    assert not any(MODEL in request for request in desk.hub.asked[asked:])
    desk.good("pull")
    assert "yes" in desk.good("list", "--remote")


def test_a_token_is_used_and_told_nobody_else(desk: Desk) -> None:
    desk.hub.token = "t"
    desk.hub.secrets.clear()
    run = desk.run("pull")
    assert run.returncode == 1
    assert "TENSIGHT_HUB_TOKEN" in run.stderr
    assert "classic" in desk.good("pull", TENSIGHT_HUB_TOKEN="t")
    assert desk.hub.secrets == [], "large file storage is another host"


def corrupt(change: Callable[[Desk, Path], Any]) -> Callable[[Desk, dict[str, Path]], None]:
    """Publish the second version, changed."""

    def publish(desk: Desk, versions: dict[str, Path]) -> None:
        folder = desk.home.parent / "corrupt"
        shutil.copytree(versions["second"], folder)
        change(desk, folder)
        desk.hub.repos[REPO].commit(files_of(folder))

    return publish


def lying(desk: Desk, folder: Path) -> None:
    """The weights are those of another model; the commit says so, config.json does not."""
    shutil.copy(folder / "baseline" / MODEL, folder / "classic" / MODEL)


def crashing(desk: Desk, folder: Path) -> None:
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


def newer(desk: Desk, folder: Path) -> None:
    config = json.loads((folder / "classic" / "config.json").read_text())
    text = json.dumps(config | {"minimum_version": "99.0.0"})
    (folder / "classic" / "config.json").write_text(text)


def without_weights(desk: Desk, folder: Path) -> None:
    (folder / "classic" / MODEL).unlink()


def fault(**how: Any) -> Callable[[Desk, dict[str, Path]], None]:
    def break_it(desk: Desk, versions: dict[str, Path]) -> None:
        for name, value in how.items():
            setattr(desk.hub.faults, name, value)

    return break_it


def replaced(length: Callable[[int], int]) -> Callable[[Desk, dict[str, Path]], None]:
    def break_it(desk: Desk, versions: dict[str, Path]) -> None:
        size = len((versions["second"] / "classic" / MODEL).read_bytes())
        desk.hub.faults.sent = {f"classic/{MODEL}": b"x" * length(size)}

    return break_it


def without_repository(desk: Desk, versions: dict[str, Path]) -> None:
    desk.hub.repos[REPO] = Repo()
    del desk.hub.repos[REPO]


def without_branch(desk: Desk, versions: dict[str, Path]) -> None:
    del desk.hub.repos[REPO].refs["main"]


HUGE = [
    {"type": "file", "path": f"huge/{name}", "size": 5_000_000, "oid": "0" * 40}
    for name in ("config.json", MODEL)
]
FAULTS: dict[str, tuple[Callable[[Desk, dict[str, Path]], None], str]] = {
    "gated files": (
        fault(status={"resolve_revision": 403}, code="GatedRepo"),
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
    "lying": (corrupt(lying), "its SHA-256 differs"),
    "crashing": (corrupt(crashing), "crashes the inference engine (signal "),
    "newer": (corrupt(newer), "needs TenSight 99.0.0"),
    "no weights": (corrupt(without_weights), f"classic in {REPO} has no {MODEL}"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_nothing_and_says_what_to_do(
    name: str, deployed: Desk, versions: dict[str, Path]
) -> None:
    break_it, message = FAULTS[name]
    break_it(deployed, versions)
    before = deployed.live(), deployed.answers(), deployed.here()
    with closing(Catalog(deployed.settings)) as running:
        loaded = {each: running.load(each) for each in NAMES}
        running.watch()
        process = deployed.start("pull", "--promote")
        while process.poll() is None:
            for each in NAMES:
                assert running.load(each) is loaded[each], "what runs goes on with what it has"
                assert (
                    running.load(each).predict(drawings.ship(64, 48)).revision in before[1].values()
                )
            time.sleep(0.1)
        _, err = process.communicate()
        running.refresh()
        assert {each: running.load(each) for each in NAMES} == loaded
    assert process.returncode == 1
    assert message in err, err
    assert "Traceback" not in err
    if name in ("lying", "crashing"):
        assert "its publisher must publish it again" in err, "pulling again would not help"
    assert (deployed.live(), deployed.answers(), deployed.here()) == before
    assert [p.name for p in (deployed.home / "revisions").glob(".staging*")] == []
    deployed.hub.faults = Faults()
    deployed.hub.repos.setdefault(REPO, Repo()).commit(files_of(versions["second"]))
    deployed.good("pull", "--promote")
    assert deployed.answers() == revisions_in(versions["second"])


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
def test_what_is_not_there_is_said(desk: Desk, arguments: list[str], message: str) -> None:
    run = desk.run(*arguments)
    assert run.returncode in (1, 2)
    assert message in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A Hub that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_a_network_it_says_so(desk: Desk, black_hole: str) -> None:
    # At once: one of them waits for ten seconds.
    runs = [desk.start("pull", HF_ENDPOINT=e) for e in ("http://127.0.0.1:9", black_hole)]
    offline = desk.run("pull", HF_HUB_OFFLINE="1")
    for run in runs:
        _, err = run.communicate(timeout=120)
        assert run.returncode == 1
        assert "The Hub cannot be reached" in err
        assert err.count("\n") == 1, "one line"
    assert "HF_HUB_OFFLINE is set" in offline.stderr


@pytest.mark.parametrize("cached", [False, True])
def test_a_front_starts_without_a_network_and_says_nothing(
    desk: Desk, versions: dict[str, Path], black_hole: str, cached: bool
) -> None:
    expected = revisions_in(versions["bundled"])["classic"]
    if cached:
        desk.good("pull", "--promote")
        expected = revisions_in(versions["first"])["classic"]
    port = free_port()
    with desk.front("serve", "--port", str(port), HF_ENDPOINT=black_hole) as (server, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url, server, log)
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        # The Hub has not answered yet, and never will.
        assert revision_at(url) == expected
    said = [line for line in log.read_text().splitlines() if not line.startswith("INFO: ")]
    assert said == [f"TenSight answers on {url}"], "beside the engine's own line"


def revision_at(url: str) -> str:
    """Which revision of `classic` a service answers with."""
    buffer = BytesIO()
    drawings.ship(64, 48).save(buffer, "PNG")
    answer = httpx2.post(f"{url}/v1/predict?model=classic", content=buffer.getvalue())
    return str(answer.json()["revision"])


def test_a_download_that_breaks_off_is_tried_again(desk: Desk, versions: dict[str, Path]) -> None:
    # The client goes on from the last whole 10 MB, so with files as small as these from the start.
    desk.hub.faults.cut = {f"baseline/{MODEL}": 2}
    desk.good("pull", "--promote")
    assert desk.hub.faults.cut == {f"baseline/{MODEL}": 0}
    assert desk.answers() == revisions_in(versions["first"])


def test_what_arrived_whole_is_not_downloaded_again(desk: Desk, versions: dict[str, Path]) -> None:
    desk.hub.faults.cut = {f"classic/{MODEL}": -1}
    assert desk.run("pull").returncode == 1
    desk.hub.faults.cut = {}
    asked = len(desk.hub.asked)
    desk.good("pull", "--promote")
    again = [each for each in desk.hub.asked[asked:] if each.startswith("GET") and "/lfs/" in each]
    assert [each.rpartition("/")[2] for each in again if "baseline" in each] == []
    assert any(f"classic/{MODEL}" in each for each in again)
    assert desk.answers() == revisions_in(versions["first"])


FETCH = """
import sys
from pathlib import Path
from core.errors import HubError
from core.registry import hub
path, folder = sys.stdin.readline().strip(), Path(sys.stdin.readline().strip())
commit = hub.resolve("owner/models", "main", token=None)
files = [each for each in commit.files if each.path == path]
try:
    hub.fetch(commit, files, into=folder, cache=folder / "hub", token=None, patience_s=1)
except HubError as error:
    sys.exit(str(error))
"""


def test_a_large_download_goes_on_where_it_broke_off(desk: Desk, tmp_path: Path) -> None:
    path = f"large/{MODEL}"
    content = random.Random(0).randbytes(22_000_000)  # noqa: S311  # no secret
    desk.hub.repos[REPO].commit({path: content})
    desk.hub.ranges.clear()
    desk.hub.faults.cut = {path: 1}
    process = desk.python(FETCH)
    _, err = process.communicate(f"{path}\n{tmp_path}\n", timeout=120)
    assert process.returncode == 0, err
    assert [asked for _, asked in desk.hub.ranges] == [f"bytes={10 * 2**20}-"]
    assert (tmp_path / path).read_bytes() == content


def test_a_process_ends_when_its_download_takes_too_long(desk: Desk, tmp_path: Path) -> None:
    desk.hub.faults.drip_s = 5
    asked = len(desk.hub.asked)
    process = desk.python(FETCH)
    # All of it would take a minute and more.
    _, err = process.communicate(f"classic/curves.png\n{tmp_path}\n", timeout=30)
    assert any("GET" in each and "curves.png" in each for each in desk.hub.asked[asked:])
    assert process.returncode == 1
    assert "The Hub cannot be reached, or the connection broke (TimeoutError). Nothing" in err


def test_a_front_can_be_stopped_while_it_pulls(desk: Desk) -> None:
    desk.hub.faults.drip_s = 5
    asked = len(desk.hub.asked)
    with desk.front("serve", "--port", str(free_port())) as (process, _):
        wait_for(lambda: any(f"GET /lfs/{REPO}" in each for each in desk.hub.asked[asked:]))
        process.terminate()
        assert process.wait(20) == 0, "it does not wait for what it downloads"


def test_what_a_pull_downloads_is_not_deleted_under_it(
    desk: Desk, versions: dict[str, Path]
) -> None:
    desk.hub.faults.drip_s = 0.2
    process = desk.start("pull", "--promote")
    blobs = desk.home / "hub" / "models--owner--models" / "blobs"
    whole = wait_for_one(blobs, "[!.]*[!e]")
    assert desk.good("gc") == ""
    assert whole.is_file()
    desk.hub.faults.drip_s = 0
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert desk.answers() == revisions_in(versions["first"])
    desk.good("gc")
    assert not blobs.exists()


def wait_for_one(folder: Path, pattern: str) -> Path:
    """A file in a folder, once there is one."""
    wait_for(lambda: next(folder.glob(pattern), None) is not None, seconds=60)
    return next(folder.glob(pattern))


def test_a_damaged_origin_is_mended_by_another_pull(desk: Desk, versions: dict[str, Path]) -> None:
    revision = revisions_in(versions["first"])["classic"]
    desk.good("pull")
    origin = RevisionStore(desk.home).path("classic", revision).parent / "origin.json"
    for damaged in ("{", "[]", '{"name": "nope"}'):
        origin.write_text(damaged)
        assert desk.run("promote", "classic", revision).returncode == 2
        desk.good("pull")
        assert desk.good("promote", "classic", revision).endswith("is live\n")
    assert desk.answers()["classic"] == revision


@pytest.mark.parametrize("token", ["", "t"])
def test_no_token_is_sent_but_that_of_the_settings(desk: Desk, token: str) -> None:
    desk.hub.tokens.clear()
    desk.good("pull", HF_TOKEN="saved", TENSIGHT_HUB_TOKEN=token)
    assert set(desk.hub.tokens) == ({"Bearer t"} if token else set())


def shown_on_a_terminal(desk: Desk, command: list[str], until: Callable[[], bool]) -> str:
    """What a process writes to stderr where that is a terminal, and nothing else is."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        command,
        env=desk.environment | {"TERM": "xterm"},
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
    wait_for(lambda: process.poll() is not None or until(), seconds=60)
    process.communicate(timeout=60)
    reader.join()
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def test_bars_are_for_the_command_line_on_a_terminal(desk: Desk) -> None:
    models = [sys.executable, "-m", "core.cli", "models"]
    # A front pulls without a word.
    front = [sys.executable, "-c", FRONT]
    assert shown_on_a_terminal(desk, front, lambda: set(desk.live()) == set(NAMES)) == ""
    shutil.rmtree(desk.home)
    run = desk.run("pull")
    assert run.stderr == "Make one live with: tensight models promote NAME REVISION\n"
    shutil.rmtree(desk.home)
    assert "Downloading" in shown_on_a_terminal(desk, [*models, "pull"], lambda: False)
    assert desk.run("push").stderr == ""
    del desk.hub.repos[REPO]
    assert MODEL in shown_on_a_terminal(desk, [*models, "push"], lambda: False)


def moments(home: Path, second: dict[str, str]) -> list[Callable[[], bool]]:
    """What has come to be, from the beginning of a pull to its end."""
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
def test_killed_at_any_moment_the_next_start_serves_the_last_good_model(
    moment: int, deployed: Desk, versions: dict[str, Path]
) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    shutil.rmtree(deployed.home / "hub")
    reached = moments(deployed.home, second)[moment]
    process = deployed.start("pull", "--promote")
    while process.poll() is None and not reached():
        time.sleep(0.0002)
    process.kill()
    process.communicate()
    answers = deployed.answers()
    # What has its place may have been made live between the look and the kill.
    assert answers == first or (moment == 9 and answers == second)
    assert {name: row.revision for name, row in deployed.live().items()} == answers
    deployed.good("pull", "--promote")
    assert deployed.answers() == second
    assert not list((deployed.home / "revisions").glob(".staging*"))


PROMOTE = """
import sys
from core.registry import releases
from core.settings import Settings
print("begins", flush=True)
releases.promote(Settings.read(), "classic", sys.stdin.readline().strip())
print("done", flush=True)
"""


def test_a_promote_that_is_killed_is_done_or_not(deployed: Desk, versions: dict[str, Path]) -> None:
    first, second = (revisions_in(versions[v])["classic"] for v in ("first", "second"))
    deployed.good("pull")
    database = deployed.settings.database_file
    log = database.with_name(f"{database.name}-wal")

    def locked() -> bool:
        """Whether some process holds the lock of what changes revisions."""
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
        answer = deployed.answers()["classic"]
        assert answer in (first, second)
        assert deployed.live()["classic"].revision == answer
        if answer == second:
            done += 1
            deployed.good("rollback", "classic")
    assert inside >= 3, "some kills fell while revisions were changed"
    assert 0 < done < len(moments), "some came too late, and some in time"


def test_two_processes_pull_at_once(desk: Desk, versions: dict[str, Path]) -> None:
    both = [desk.start("pull", "--promote") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert desk.answers() == revisions_in(versions["first"])


SLOW_PROBE = """
import sys
from pathlib import Path
if "core.registry.probe" in sys.orig_argv:
    # A process that nothing else is told of: what holds it lies beside this file.
    hold = Path(__file__).with_name("hold")
    if hold.exists():
        hold.read_bytes()
"""


def test_others_promote_and_roll_back_while_what_is_pulled_is_tried(
    deployed: Desk, versions: dict[str, Path], tmp_path: Path
) -> None:
    first, second = (revisions_in(versions[each]) for each in ("first", "second"))

    def here() -> set[str]:
        return {revision for _, revision in deployed.here()}

    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW_PROBE)
    hold = Hold(site)
    pulling = deployed.start("pull", PYTHONPATH=f"{site}{os.pathsep}{ROOT}")
    try:
        hold.wait()
        assert releases.roll_back(deployed.settings, "classic").revision == BUNDLED
        releases.promote(deployed.settings, "classic", first["classic"])
        assert deployed.live()["classic"] == LiveRevision(first["classic"], BUNDLED)
        assert pulling.poll() is None, "it is still being tried"
        assert here() == set(first.values()), "and no candidate yet"
        hold.path.unlink()  # for the next model
        hold.go()
        _, err = pulling.communicate(timeout=120)
    finally:
        hold.go()
        pulling.kill()
        pulling.communicate()
    assert pulling.returncode == 0, err
    assert here() == {*first.values(), *second.values()}
    assert {name: row.revision for name, row in deployed.live().items()} == first


def test_a_running_front_answers_within_a_second_with_what_is_promoted(
    desk: Desk, versions: dict[str, Path]
) -> None:
    first = revisions_in(versions["first"])["classic"]
    bundled = revisions_in(versions["bundled"])["classic"]
    desk.good("pull")
    predictor = LocalPredictor(Catalog(desk.settings), queue_size=8, deadline_s=30)
    predictor.warm()

    def revision() -> str:
        return asyncio.run(predictor.predict(drawings.ship(64, 48), model="classic")).revision

    def seconds_until(expected: str) -> float:
        """Since what is live was committed."""
        begin = time.monotonic()
        wait_for(lambda: revision() == expected)
        return time.monotonic() - begin

    assert revision() == bundled
    releases.promote(desk.settings, "classic", first)
    assert seconds_until(first) < 1
    assert {r.config.title for r in predictor.models()} >= {"classic, first"}
    releases.roll_back(desk.settings, "classic")
    assert seconds_until(bundled) < 1
    # And one that another process makes live.
    desk.good("rollback", "classic")
    wait_for(lambda: revision() == first)
    predictor.close()


def test_no_photo_is_dropped_while_a_revision_is_swapped_in(
    desk: Desk, versions: dict[str, Path]
) -> None:
    """Eight ask without a pause, across a promote and a rollback; each gets every answer."""
    first = revisions_in(versions["first"])["classic"]
    bundled = revisions_in(versions["bundled"])["classic"]
    desk.good("pull")
    predictor = LocalPredictor(Catalog(desk.settings), queue_size=8, deadline_s=30)
    predictor.warm()
    given: list[list[str]] = [[] for _ in range(8)]
    failed: list[Exception] = []
    end = threading.Event()

    async def ask(answers: list[str]) -> None:
        while not end.is_set():
            try:
                answer = await predictor.predict(drawings.ship(64, 48), model="classic")
                assert sum(answer.scores.values()) == pytest.approx(1)
                answers.append(answer.revision)
            except Exception as error:  # noqa: BLE001  # none may come
                failed.append(error)
                return

    async def all_ask() -> None:
        await asyncio.gather(*map(ask, given))

    def all_get(revision: str) -> None:
        """Once each of them got an answer of the revision, and some more of it."""
        begun = [len(answers) for answers in given]
        wait_for(
            lambda: (
                bool(failed)
                or all(
                    answers[n:].count(revision) >= 3
                    for n, answers in zip(begun, given, strict=True)
                )
            )
        )

    asking = threading.Thread(target=lambda: asyncio.run(all_ask()))
    asking.start()
    try:
        all_get(bundled)
        releases.promote(desk.settings, "classic", first)
        all_get(first)
        releases.roll_back(desk.settings, "classic")
        all_get(bundled)
    finally:
        end.set()
        asking.join(60)
        predictor.close()
    assert failed == []
    for answers in given:
        # One after the other: once a revision answers, the one before it does not come back.
        swapped = [revision for revision, _ in itertools.groupby(answers)]
        assert swapped == [bundled, first, bundled]


def test_a_live_revision_that_is_damaged_is_answered_for(
    deployed: Desk, versions: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    deployed.good("pull", "--promote")
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    revisions = RevisionStore(deployed.home)
    (revisions.path("classic", second["classic"]) / MODEL).write_bytes(b"damaged")
    assert deployed.answers() == second | {"classic": first["classic"]}
    assert "classic cannot be loaded" in caplog.text
    shutil.rmtree(revisions.path("classic", first["classic"]).parent)
    bundled = revisions_in(versions["bundled"])
    assert deployed.answers() == second | {"classic": bundled["classic"]}
    assert "is not installed" in caplog.text


def test_what_answers_is_what_is_told(deployed: Desk, versions: dict[str, Path]) -> None:
    deployed.good("pull", "--promote")
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    # Its description can be read, so it counts as live until it is loaded.
    (RevisionStore(deployed.home).path("classic", second["classic"]) / MODEL).write_bytes(
        b"damaged"
    )
    predictor = LocalPredictor(Catalog(deployed.settings), queue_size=8, deadline_s=30)
    predictor.warm()
    telemetry = Telemetry()
    telemetry.watch_models(predictor.models)
    answer = asyncio.run(predictor.predict(drawings.ship(64, 48), model="classic"))
    told = {result.config.name: result.revision for result in predictor.models()}
    metrics = telemetry.text().decode()
    predictor.close()
    assert answer.revision == first["classic"]
    assert told == second | {"classic": first["classic"]}
    for name, revision in told.items():
        assert f'tensight_live_revision{{model="{name}",revision="{revision}"}} 1.0' in metrics
    assert second["classic"] not in metrics


def test_what_stands_in_is_not_listed_as_live(deployed: Desk, versions: dict[str, Path]) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])

    def listed() -> dict[str, tuple[str, str]]:
        rows = json.loads(deployed.good("list", "--json"))
        return {
            row["name"]: (row["state"], row["revision"])
            for row in rows
            if row["state"] in ("live", "stands in", "bundled")
        }

    live = {name: ("live", revision) for name, revision in first.items()}
    assert listed() == live
    deployed.good("rollback", "classic")
    assert listed() == live | {"classic": ("live", revisions_in(versions["bundled"])["classic"])}
    # The bundled one is damaged, then a live one that was pulled.
    spoiled = deployed.home.parent / "spoiled"
    shutil.copytree(deployed.models, spoiled)
    (spoiled / "classic" / "config.json").write_text("{")
    bundled, deployed.models = deployed.models, spoiled
    assert listed() == live | {"classic": ("stands in", first["classic"])}
    deployed.models = bundled
    deployed.good("rollback", "classic")
    deployed.good("pull", "--promote")
    folder = RevisionStore(deployed.home).path("classic", second["classic"])
    (folder / "config.json").write_text("{")
    assert listed() == {
        "baseline": ("live", second["baseline"]),
        "classic": ("stands in", first["classic"]),
    }
    assert "stands in" in deployed.good("list")


def test_what_is_neither_live_nor_last_good_is_deleted(
    deployed: Desk, versions: dict[str, Path]
) -> None:
    deployed.good("pull", "--promote")
    third = deployed.home.parent / "third"
    shutil.copytree(versions["second"], third)
    revision = retitled(third / "classic", "third")
    deployed.hub.repos[REPO].commit(files_of(third))
    deployed.good("pull")
    before = deployed.answers()
    assert deployed.good("gc") == f"{revision}\n"
    kept = {(e.bundle.config.name, e.bundle.revision) for e in RevisionStore(deployed.home).all()}
    for version in ("first", "second"):
        assert kept >= set(revisions_in(versions[version]).items())
    assert len(kept) == 4
    assert deployed.answers() == before
    deployed.good("rollback", "classic")


def test_what_is_damaged_is_told_and_deleted(deployed: Desk, versions: dict[str, Path]) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    deployed.good("pull")
    revisions = RevisionStore(deployed.home)
    (revisions.path("classic", first["classic"]) / "config.json").write_text("{")
    (revisions.path("classic", second["classic"]) / "config.json").write_text("{")
    shutil.rmtree(revisions.path("baseline", first["baseline"]).parent)
    run = deployed.run("verify")
    assert run.returncode == 1
    assert run.stdout.count("is invalid") == 2
    assert f"baseline {first['baseline']}: it is live" in run.stdout
    gone = deployed.good("gc").split()
    assert sorted(gone) == sorted(second.values()), "not what is live, damaged as it is"
    deployed.good("pull", "--revision", "v1")
    assert deployed.run("verify").returncode == 0
    assert deployed.answers() == first


def test_a_running_front_goes_back_to_a_live_revision_that_is_here_again(
    deployed: Desk, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = revisions_in(versions["first"])["classic"]
    kept = RevisionStore(deployed.home).path("classic", first).parent
    away = kept.with_name(f".away-{first}")
    kept.rename(away)
    monkeypatch.setattr("core.registry.catalog._RETRY_S", 0.1)
    catalog = Catalog(deployed.settings)
    assert catalog.load("classic").revision == revisions_in(versions["bundled"])["classic"]
    catalog.watch()
    away.rename(kept)
    wait_for(lambda: catalog.load("classic").revision == first)
    catalog.close()


def test_after_a_damaged_revision_the_next_one_is_not_waited_for(
    deployed: Desk, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.registry.catalog._RETRY_S", 1000.0)
    deployed.good("pull")
    first, second, bundled = (
        revisions_in(versions[version])["classic"] for version in ("first", "second", "bundled")
    )
    catalog = Catalog(deployed.settings)
    assert catalog.load("classic").revision == first
    store = Store.open(deployed.settings)
    (RevisionStore(deployed.home).path("classic", second) / MODEL).write_bytes(b"damaged")
    store.live.promote({"classic": second}, NAMES)
    catalog.refresh()
    assert catalog.load("classic").revision == first, "the last good one"
    store.live.promote({"classic": BUNDLED}, NAMES)
    catalog.refresh()
    assert catalog.load("classic").revision == bundled
    store.close()
    catalog.close()


def test_a_rejected_revision_does_not_come_back_with_an_update(
    deployed: Desk, versions: dict[str, Path]
) -> None:
    deployed.good("rollback", "classic")
    # TenSight is updated, and another revision is bundled.
    updated = deployed.home.parent / "updated"
    shutil.copytree(versions["bundled"], updated)
    revision = retitled(updated / "classic", "updated")
    deployed.models = updated
    assert deployed.answers()["classic"] == revision


def test_the_same_revision_as_the_bundled_one_can_be_promoted(
    desk: Desk, versions: dict[str, Path]
) -> None:
    desk.hub.repos[REPO].commit(files_of(versions["bundled"]))
    bundled = revisions_in(versions["bundled"])
    desk.good("pull", "--promote")
    assert desk.live() == {name: LiveRevision(bundled[name], BUNDLED) for name in NAMES}
    desk.good("gc")
    assert len(desk.here()) == 2
    assert desk.good("rollback", "classic") == (
        f"classic bundled is live, no longer {bundled['classic']}\n"
    )
    assert desk.good("promote", "classic", bundled["classic"]).endswith("is live\n")


FRONT = """
import logging
import os
import sys
from core.registry.sync import FirstPull
from core.settings import Settings
logging.basicConfig(level=os.environ.get("LEVEL", "WARNING"))
pause = float(os.environ.get("PAUSE", "0.1"))
patience = float(os.environ.get("PATIENCE", "10"))
FirstPull(Settings.read(), patience_s=patience, pauses_s=(pause, 2 * pause), look_s=0.1)
sys.stdin.read()
"""
"""A front that has just been started."""


def test_a_first_start_brings_the_models_here(desk: Desk, versions: dict[str, Path]) -> None:
    process = desk.python(FRONT)
    wait_for(lambda: set(desk.live()) == set(NAMES), seconds=60)
    _, err = process.communicate(timeout=30)
    assert err == ""
    assert desk.answers() == revisions_in(versions["first"])
    asked = len(desk.hub.asked)
    desk.hub.repos[REPO].commit(files_of(versions["second"]))
    process = desk.python(FRONT)
    time.sleep(2)
    process.communicate(timeout=30)
    assert len(desk.hub.asked) == asked, "something is live, and here: nothing is asked"


@pytest.fixture
def second_machine(deployed: Desk) -> Desk:
    """One with the same database as the first, where nothing was pulled yet.

    The second version is live, the first is the last good one; the Hub has moved on to a third.
    """
    deployed.good("pull", "--promote")
    other = replace(deployed, home=deployed.home.with_name("other"))
    other.home.mkdir()
    shutil.copy(deployed.settings.database_file, other.settings.database_file)
    third = deployed.home.parent / "third"
    shutil.copytree(deployed.models, third)
    for name in NAMES:
        retitled(third / name, "third")
    deployed.hub.repos[REPO].commit(files_of(third))
    return other


def test_another_machine_brings_what_is_live_from_where_it_came(
    second_machine: Desk, versions: dict[str, Path]
) -> None:
    before = second_machine.live()
    process = second_machine.python(FRONT)
    wait_for(lambda: len(second_machine.here()) == 4, seconds=60)
    _, err = process.communicate(timeout=30)
    assert err == ""
    assert second_machine.live() == before
    assert second_machine.answers() == revisions_in(versions["second"])
    second_machine.good("rollback", "classic")
    assert second_machine.answers()["classic"] == revisions_in(versions["first"])["classic"]


def test_another_machine_brings_what_is_made_live_while_it_runs(
    deployed: Desk, second_machine: Desk, versions: dict[str, Path]
) -> None:
    shared = f"sqlite:///{deployed.settings.database_file}"
    catalog = Catalog(
        second_machine.settings.model_copy(update={"database_url": SecretStr(shared)})
    )
    process = second_machine.python(FRONT, TENSIGHT_DATABASE_URL=shared)
    wait_for(lambda: len(second_machine.here()) == 4, seconds=60)
    assert catalog.load("classic").revision == revisions_in(versions["second"])["classic"]
    catalog.watch()
    deployed.good("pull", "--promote")
    third = {name: row.revision for name, row in deployed.live().items()}
    wait_for(lambda: set(third.items()) < set(second_machine.here()), seconds=60)
    _, err = process.communicate(timeout=30)
    assert err == ""
    wait_for(lambda: catalog.load("classic").revision == third["classic"])
    catalog.close()


def test_what_cannot_be_had_does_not_delay_what_is_made_live_next(
    deployed: Desk, second_machine: Desk, versions: dict[str, Path]
) -> None:
    database = deployed.settings.database_file
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM origins")
    shared = {"TENSIGHT_DATABASE_URL": f"sqlite:///{database}", "PAUSE": "1000"}
    process = second_machine.python(FRONT, **shared)
    assert process.stderr is not None
    assert "is live or last good, but was not found" in process.stderr.readline()
    classic = revisions_in(versions["first"])["classic"]
    deployed.good("promote", "classic", classic)
    wait_for(lambda: ("classic", classic) in second_machine.here(), seconds=60)
    process.communicate(timeout=30)


def test_what_is_live_and_comes_from_nobody_knows_where_is_told_once(
    second_machine: Desk, versions: dict[str, Path]
) -> None:
    with closing(sqlite3.connect(second_machine.settings.database_file)) as connection, connection:
        connection.execute("DELETE FROM origins")
    revision = revisions_in(versions["second"])["classic"]
    asked = len(second_machine.hub.asked)
    process = second_machine.python(FRONT)
    assert process.stderr is not None
    told = process.stderr.readline()
    assert f"classic {revision} is live or last good, but was not found in {REPO} at main" in told
    assert "`tensight models pull --revision`" in told

    def tries() -> int:
        return sum(f"/{REPO}/revision/" in each for each in second_machine.hub.asked[asked:])

    wait_for(lambda: tries() >= 3, seconds=60)
    _, err = process.communicate(timeout=30)
    assert err == "", "not at every try"


def test_a_hub_that_comes_back_is_pulled_from(desk: Desk, versions: dict[str, Path]) -> None:
    desk.hub.faults.held = threading.Event()
    process = desk.python(FRONT, LEVEL="INFO", PATIENCE="0.3")
    assert process.stderr is not None
    for _ in range(2):  # past the deadline, twice
        told = process.stderr.readline()
        assert told.startswith("INFO:core.registry.sync:The Hub cannot be reached"), "no error"
    desk.hub.faults.held.set()
    wait_for(lambda: set(desk.live()) == set(NAMES), seconds=60)
    _, err = process.communicate(timeout=30)
    assert "ERROR" not in err
    assert "WARNING" not in err
    assert desk.answers() == revisions_in(versions["first"])


def test_a_start_that_is_to_be_offline_is_silent(desk: Desk) -> None:
    asked = len(desk.hub.asked)
    process = desk.python(FRONT, LEVEL="INFO", HF_HUB_OFFLINE="1")
    assert process.stderr is not None
    told = process.stderr.readline()
    assert told.startswith("INFO:core.registry.sync:HF_HUB_OFFLINE is set"), "no error"
    _, err = process.communicate(timeout=30)
    assert "ERROR" not in err
    assert len(desk.hub.asked) == asked


def test_the_bundled_models_answer_until_the_first_ones_are_here(
    desk: Desk, versions: dict[str, Path]
) -> None:
    desk.hub.faults.held = held = threading.Event()
    asked = len(desk.hub.asked)
    port = free_port()
    with desk.front("serve", "--port", str(port)) as (process, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url, process, log)
        wait_for(lambda: len(desk.hub.asked) > asked)
        # Ready while the Hub is still waited for.
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        assert revision_at(url) == revisions_in(versions["bundled"])["classic"]
        assert len(desk.hub.asked) == asked + 1
        held.set()
        first = revisions_in(versions["first"])["classic"]
        wait_for(lambda: revision_at(url) == first, seconds=60)


def test_page_and_bot_bring_the_first_models_here_too(desk: Desk) -> None:
    port = str(free_port())
    with TelegramServer().running() as telegram:
        token = {f"TENSIGHT_{k.upper()}": value for k, value in telegram.settings().items()}
        for command, more in ((["bot"], token), (["web", "--port", port], {})):
            with desk.front(*command, **more):
                wait_for(lambda: set(desk.live()) == set(NAMES), seconds=120)
            shutil.rmtree(desk.home)


def test_a_bot_that_asks_a_service_brings_nothing_here(desk: Desk) -> None:
    asked = len(desk.hub.asked)
    port = free_port()
    with TelegramServer().running() as telegram:
        settings = {f"TENSIGHT_{k.upper()}": value for k, value in telegram.settings().items()}
        settings |= {"TENSIGHT_PREDICTOR_URL": f"http://127.0.0.1:{port}"}
        with (
            desk.front("serve", "--port", str(port), TENSIGHT_HUB_REPO="") as (service, log),
            desk.front("bot", **settings) as (_, said),
        ):
            wait_until_it_answers(f"http://127.0.0.1:{port}", service, log)
            wait_for(lambda: " answers" in said.read_text(), seconds=60)
            time.sleep(2)
    assert len(desk.hub.asked) == asked


def test_who_runs_it_hears_why_a_first_pull_fails(desk: Desk) -> None:
    process = desk.python(FRONT, TENSIGHT_HUB_REPO="owner/none")
    assert process.stderr is not None
    assert "Repository owner/none does not exist" in process.stderr.readline()
    process.kill()
    process.communicate()


def test_documented_release_commands_run(desk: Desk, versions: dict[str, Path]) -> None:
    """In their order, as a deployer gives them; what is published is what is bundled."""
    page = (ROOT / "docs" / "DEPLOYMENT.md").read_text("utf-8")
    block = page.split("Publish, pull, promote and roll back:")[1]
    block = block.split("```sh\n")[1].split("```")[0]
    desk.models = desk.home.parent / "models"
    shutil.copytree(versions["bundled"], desk.models)
    shutil.copytree(desk.models / "classic", desk.models / "scratch")
    config = json.loads((desk.models / "scratch" / "config.json").read_text("utf-8"))
    text = json.dumps(config | {"name": "scratch"})
    (desk.models / "scratch" / "config.json").write_text(text)
    del desk.hub.repos[REPO]
    for line in block.splitlines():
        program, *arguments = line.split()
        assert program == ".venv/bin/tensight"
        if arguments[0] == "models":
            desk.good(*arguments[1:], TENSIGHT_HUB_TOKEN="t")


def test_models_are_published_and_come_back(desk: Desk, versions: dict[str, Path]) -> None:
    settings = {"TENSIGHT_MODELS": str(versions["second"]), "TENSIGHT_HUB_TOKEN": "t"}
    out = desk.good("push", "--repo", "owner/new", "--tag", "v2", **settings)
    repo = desk.hub.repos["owner/new"]
    assert out == f"{repo.refs['main']} v2\n"
    assert repo.refs["v2"] == repo.refs["main"]
    published = dict(repo.commits[repo.refs["v2"]])
    del published[".gitattributes"]
    assert published == files_of(versions["second"])
    desk.good("pull", "--repo", "owner/new", "--revision", "v2", "--promote")
    assert desk.answers() == revisions_in(versions["second"])
    again = desk.run("push", "--repo", "owner/new", "--tag", "v2", **settings)
    assert again.returncode == 1
    assert "already has a tag v2. Nothing was uploaded." in again.stderr
    # The next version of a model has a file less.
    fewer = desk.home.parent / "fewer"
    shutil.copytree(versions["second"], fewer)
    bundle = Bundle.open(fewer / "classic")
    files = {name: bundle.read(name) for name in bundle.config.sha256 if name != "curves.png"}
    write_bundle(bundle.folder, bundle.config, files)
    desk.good("push", "--repo", "owner/new", **(settings | {"TENSIGHT_MODELS": str(fewer)}))
    assert "classic/curves.png" not in repo.commits[repo.refs["main"]]
    desk.good("pull", "--repo", "owner/new")


def test_a_repository_that_is_made_is_public_unless_it_is_to_be_private(desk: Desk) -> None:
    settings = {"TENSIGHT_HUB_TOKEN": "t"}
    desk.good("push", "--repo", "owner/open", **settings)
    assert desk.hub.created["owner/open"]["visibility"] == "public"
    desk.good("push", "--repo", "owner/closed", "--private", **settings)
    assert desk.hub.created["owner/closed"]["visibility"] == "private"


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
def test_an_upload_that_fails_says_how_far_it_came(desk: Desk, where: str, told: str) -> None:
    desk.hub.faults.status = {where: 501}
    run = desk.run("push", "--repo", "owner/half", "--tag", "v1", TENSIGHT_HUB_TOKEN="t")
    assert run.returncode == 1
    assert f"(HTTP status 501). {told}" in run.stderr
    assert "Nothing was changed" not in run.stderr


def test_what_is_published_and_not_tagged_is_told(desk: Desk) -> None:
    push = ("push", "--repo", "owner/untagged", "--tag", "v1")
    desk.hub.faults.status = {"/tag/": 403}
    run = desk.run(*push, TENSIGHT_HUB_TOKEN="t")
    commit = desk.hub.repos["owner/untagged"].refs["main"]
    assert run.returncode == 1
    assert f"owner/untagged is published as commit {commit}, but not tagged v1: " in run.stderr
    assert "Nothing was changed" not in run.stderr
    desk.hub.faults = Faults()
    assert desk.good(*push, TENSIGHT_HUB_TOKEN="t") == f"{commit} v1\n"
    assert desk.hub.repos["owner/untagged"].refs["v1"] == commit


def test_a_model_that_does_not_verify_is_not_published(
    desk: Desk, versions: dict[str, Path]
) -> None:
    folder = desk.home.parent / "mine"
    shutil.copytree(versions["second"], folder)
    (folder / "classic" / "metrics.json").write_text("{}")
    run = desk.run("push", "--repo", "owner/bad", TENSIGHT_MODELS=str(folder))
    assert run.returncode == 1
    assert "its SHA-256 differs" in run.stderr
    (folder / "classic" / "config.json").unlink()
    run = desk.run("push", "--repo", "owner/bad", TENSIGHT_MODELS=str(folder))
    assert run.returncode == 1
    assert "is not a model folder" in run.stderr
    assert "owner/bad" not in desk.hub.repos


def test_only_what_is_written_there_is_blamed_on_the_home(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), RevisionStore(tmp_path).changing():
        raise FileNotFoundError("of something else")


def test_a_home_that_cannot_be_written_is_told(desk: Desk) -> None:
    desk.home.mkdir()
    (desk.home / "revisions").write_text("in the way")
    run = desk.run("pull")
    assert run.returncode == 1
    assert "TENSIGHT_HOME" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_repository_must_be_named(desk: Desk) -> None:
    run = desk.run("pull", TENSIGHT_HUB_REPO="")
    assert run.returncode == 1
    assert "set TENSIGHT_HUB_REPO" in run.stderr


def test_a_model_that_is_only_on_the_hub_can_be_asked_for(desk: Desk, tmp_path: Path) -> None:
    empty = Settings(home=desk.home, models=tmp_path / "none", hub_repo=REPO)
    desk.good("pull", "--promote", TENSIGHT_MODELS=str(empty.models))
    catalog = Catalog(empty)
    assert isinstance(catalog.load("classic"), Classifier)
    assert catalog.default() == "classic"
    catalog.close()
