"""Deletion of expired evidence by processes without a bot."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import StoreError
from core.serving.retention import Retention
from core.settings import Settings
from core.store.rollout_evidence import AnswerSummary, Comparison
from core.store.store import Store
from core.store.tables import COMPARISONS
from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.rollouts import settings_with_model
from tests.support.servers import free_port, wait_for

ANSWER = AnswerSummary("cat", "known", 0.9, 1.0, 2.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", retention_days=7)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with closing(Store.open(settings)) as store:
        yield store


def compare(store: Store, *digests: str) -> int:
    """Store comparisons of a shadow, the first of them 8 days ago; return its number."""
    rollout = store.rollouts.begin(
        "a", "shadow", candidate="new", live="old", share=1.0, slow_ms=9.0
    )
    comparisons = [Comparison(digest, ANSWER, ANSWER) for digest in digests]
    store.rollout_evidence.add_comparisons(rollout.number, comparisons)
    with store.database.write() as connection:
        old = sa.update(COMPARISONS).where(COMPARISONS.c.answer == digests[0])
        connection.execute(old.values(at=datetime.now(UTC) - timedelta(days=8)))
    return rollout.number


def test_expired_comparisons_are_deleted_without_a_bot(settings: Settings, store: Store) -> None:
    number = compare(store, "old", "new")
    with closing(Retention(settings, partial(Store.find, settings))):
        wait_for(
            lambda: [each.answer for each in store.rollout_evidence.comparisons(number)] == ["new"]
        )


def test_deletion_is_tried_again_after_an_error(settings: Settings, store: Store) -> None:
    number = compare(store, "old", "new")
    failures = [StoreError("away"), ValueError("a defect")]

    def find() -> Store | None:
        if failures:
            raise failures.pop(0)
        return Store.find(settings)

    with closing(Retention(settings, find, every_s=0.01)):
        wait_for(lambda: len(store.rollout_evidence.comparisons(number)) == 1)
    assert not any(each.name == "retention" for each in threading.enumerate())


@pytest.mark.parametrize("front", ["serve", "web"])
def test_service_and_page_delete_expired_comparisons(tmp_path: Path, front: str) -> None:
    settings = settings_with_model(tmp_path)
    folders = {"TENSIGHT_HOME": str(settings.home), "TENSIGHT_MODELS": str(settings.models)}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | folders
    command = ["-m", "core.cli", front, "--port", str(free_port())]
    with closing(Store.open(settings)) as store:
        number = compare(store, "old", "new")
        with Fork(command, environment, kind="page" if front == "web" else "commands") as process:
            try:
                wait_for(lambda: len(store.rollout_evidence.comparisons(number)) == 1)
            finally:
                process.terminate()
