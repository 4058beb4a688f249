"""An installation of TenSight beside a Hub on loopback, for tests of releases."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.bundle.config import MODEL
from core.bundle.folder import Bundle, write_bundle
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore
from core.settings import Settings
from core.store.live import LiveRevision
from core.store.store import Store
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.forks import Fork
from tests.support.hub_server import HubServer

REPO = "owner/models"


NAMES = ("baseline", "classic")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@dataclass
class Installation:
    """One installation: its home, its bundled models, and the Hub that it asks.

    Attributes:
        hub: The Hub on loopback.
        home: TENSIGHT_HOME.
        models: TENSIGHT_MODELS.
    """

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

    def start(self, *arguments: str, **settings: str) -> Fork:
        return Fork(
            ["-m", "core.cli", "models", *arguments],
            self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def python(self, code: str, **settings: str) -> Fork:
        """Start a Python process: the client reads HF_ENDPOINT once, when it is imported."""
        return Fork(
            ["-c", code],
            self.environment | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def server(self, *command: str, **settings: str) -> Iterator[tuple[Fork, Path]]:
        """Run a server within a block, and yield it with its log; it must stop with status 0."""
        log = self.home.parent / f"{command[0]}.log"
        with log.open("wb") as stream:
            process = Fork(
                ["-m", "core.cli", *command],
                self.environment | settings,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process, log
            process.terminate()
            assert process.wait(120) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **settings)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.wait(), out, err)

    def succeed(self, *arguments: str, **settings: str) -> str:
        """Run `tensight models ...`, which must succeed, and return its output."""
        run = self.run(*arguments, **settings)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def serving(self) -> dict[str, str]:
        """Return the revision of each model that serves in a process that starts now."""
        catalog = Catalog(self.settings)
        revisions = {}
        for name in NAMES:
            classifier = catalog.load(name)
            assert sum(classifier.predict(drawings.ship(64, 48)).scores.values()) > 0.99
            revisions[name] = classifier.revision
        catalog.close()
        return revisions

    def installed(self) -> list[tuple[str, str]]:
        """List the installed revisions as (model, revision)."""
        found = RevisionStore(self.home).all()
        return [(each.bundle.config.name, each.bundle.revision) for each in found]

    def live(self) -> dict[str, LiveRevision]:
        store = Store.open(self.settings)
        live = store.live.all()
        store.close()
        return live


def retitled(folder: Path, title: str, **changes: object) -> str:
    """Make another revision of a model: the same weights, in a file of other bytes.

    Args:
        folder: The model folder.
        title: Title of the revision.
        changes: Fields of its input that differ.
    """
    bundle = Bundle.open(folder)
    spec = bundle.config.input.model_copy(update=changes)
    config = bundle.config.model_copy(update={"title": title, "input": spec})
    files = {name: bundle.read(name) for name in config.sha256}
    files[MODEL] += title.encode()  # the engine reads no further than the tables lead
    return write_bundle(folder, config, files).revision


def revisions_in(folder: Path) -> dict[str, str]:
    return {name: Bundle.open(folder / name).revision for name in NAMES}


SYNC = """
import logging
import os
import sys
from core.registry.releases import Releases
from core.registry.sync import HubSync, Timings
from core.settings import Settings
logging.basicConfig(level=os.environ.get("LEVEL", "WARNING"))
pause = float(os.environ.get("PAUSE", "0.1"))
patience = float(os.environ.get("PATIENCE", "10"))
settings = Settings.read()
HubSync(settings, Releases(settings), Timings(patience, pause, 2 * pause, poll_s=0.1))
sys.stdin.read()
"""
"""A server that has just been started: it runs until its stdin is closed."""
