"""Compatibility with the database, TENSIGHT_HOME and Hub repository of the previous version."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import FeedbackStats
from core.store.hash_key import load_hash_key
from core.store.lanes import Lane
from core.store.live import HubSource, LiveRevision
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.hub_server import HubServer, Repo

BEFORE = ROOT / "tests" / "data" / "before"
REVISION = "ad691047b871"
COMMIT = "b4fdd761399aa17102cf41b63355b011caa68186"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return a home of the previous version, without bundled models."""
    home = tmp_path / "home"
    revision = home / "revisions" / REVISION
    shutil.copytree(BEFORE / "hub" / "shapes", revision / "shapes")
    shutil.copyfile(BEFORE / "origin.json", revision / "origin.json")
    with closing(sqlite3.connect(home / "tensight.db")) as connection:
        connection.executescript((BEFORE / "database.sql").read_text())
    (tmp_path / "models").mkdir()
    return Settings(home=home, models=tmp_path / "models", model="shapes")


def test_database_of_previous_version_is_read(settings: Settings) -> None:
    with closing(Store.open(settings)) as store:
        assert store.live.all() == {"shapes": LiveRevision(REVISION, "bundled")}
        assert store.live.sources() == {REVISION: HubSource("owner/models", COMMIT)}
        assert store.feedback.stats() == [FeedbackStats("shapes", REVISION, 2, 1)]
        assert [(truth, photo) for _, truth, photo in store.feedback.photos()] == [
            ("none", b"\xff\xd8jpeg")
        ]
        assert store.chats.get(1) == Chat("shapes", "nl", keep_photos=True)
        assert store.chats.user_stats("person") == (1, 1, 1)
        answer = store.feedback.answer("key1")
        assert answer is not None
        assert (answer.file, answer.answer, answer.judged) == ("file-1", "red square", True)
        assert store.inbox.waiting(7) == [(2, '{"update_id": 2}')]
        assert store.lanes.claim(7, "owner", 9) == [Lane(1)]
        assert store.flags.get("maintenance")
        assert [entry.act for entry in store.audit.finish_all(7, "owner", str, alone=False)] == [
            "pull v1"
        ]


def test_home_of_previous_version_serves_predictions(settings: Settings) -> None:
    (settings.home / "secret").write_text("0" * 64)
    assert load_hash_key(settings) == b"0" * 64
    (stored,) = RevisionStore(settings.home).all()
    assert (stored.bundle.revision, stored.repo, stored.commit) == (
        REVISION,
        "owner/models",
        COMMIT,
    )
    with closing(Catalog(settings)) as catalog:
        prediction = catalog.load().predict(Image.new("RGB", (64, 48), (60, 60, 220)))
    assert (prediction.label, prediction.revision) == ("blue sky", REVISION)


def test_hub_repository_of_previous_version_can_be_pulled(tmp_path: Path) -> None:
    hub_folder = BEFORE / "hub"
    files = {
        path.relative_to(hub_folder).as_posix(): path.read_bytes()
        for path in hub_folder.rglob("*")
        if path.is_file()
    }
    with HubServer().running() as hub:
        hub.repos["owner/models"] = Repo()
        hub.repos["owner/models"].commit(files)
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("TENSIGHT_", "HF_"))
        }
        ours = {
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "TENSIGHT_HOME": str(tmp_path / "home"),
            "TENSIGHT_MODELS": str(tmp_path / "models"),
            "TENSIGHT_HUB_REPO": "owner/models",
        }

        def tensight(*arguments: str) -> str:
            run = subprocess.run(
                [sys.executable, "-m", "core.cli", "models", *arguments],
                env=environment | ours,
                capture_output=True,
                text=True,
                check=False,
            )
            assert run.returncode == 0, run.stderr
            return run.stdout

        assert tensight("pull", "--promote") == f"shapes {REVISION} is live\n"
        (row,) = json.loads(tensight("list", "--json"))
    assert (row["name"], row["revision"], row["state"]) == ("shapes", REVISION, "live")
