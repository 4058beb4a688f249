"""Private taught models."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from core.errors import BundleError
from core.registry.bases import ClassifierLoader
from core.registry.private_models import PrivateModels
from core.registry.revisions import RevisionStore
from core.registry.taught import TaughtRecord, TaughtStore, new_id

FIRST, SECOND = "1" * 12, "2" * 12


class Loaded:
    """Stands in for a classifier, and for the bundle that it is loaded from."""

    def __init__(self, revision: str) -> None:
        self.revision = revision


class Loader:
    """A loader that counts."""

    def __init__(self) -> None:
        self.loads = 0

    def load(self, bundle: Loaded) -> Loaded:
        self.loads += 1
        return Loaded(bundle.revision)


class Installed:
    """Revisions of which all are installed but the missing ones."""

    def __init__(self) -> None:
        self.missing: set[str] = set()

    def find(self, name: str, revision: str) -> Loaded | None:
        return None if revision in self.missing else Loaded(revision)


@pytest.fixture
def records(tmp_path: Path) -> TaughtStore:
    return TaughtStore(tmp_path)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def installed() -> Installed:
    return Installed()


@pytest.fixture
def private(records: TaughtStore, installed: Installed, loader: Loader) -> PrivateModels:
    return PrivateModels(records, cast(RevisionStore, installed), cast(ClassifierLoader, loader))


def record(revision: str) -> TaughtRecord:
    return TaughtRecord(id=new_id(), title="Mugs", owner="0" * 64, revision=revision, created=0.0)


def test_classifier_follows_the_revision_of_the_record(
    private: PrivateModels, records: TaughtStore, loader: Loader
) -> None:
    model = record(FIRST)
    records.save(model)
    first = private.load(model.id)
    assert first is not None
    assert private.load(model.id) is first
    records.save(model.model_copy(update={"revision": SECOND}))
    second = private.load(model.id)
    assert second is not None
    assert (first.revision, second.revision, loader.loads) == (FIRST, SECOND, 2)


def test_removed_model_is_no_longer_found(private: PrivateModels, records: TaughtStore) -> None:
    model = record(FIRST)
    records.save(model)
    assert private.load(model.id) is not None
    records.remove(model.id)
    assert private.load(model.id) is None
    assert private.bundle(model.id) is None


def test_missing_files_are_reported(
    private: PrivateModels, records: TaughtStore, installed: Installed
) -> None:
    model = record(FIRST)
    records.save(model)
    installed.missing.add(FIRST)
    for look_up in (private.load, private.bundle):
        with pytest.raises(BundleError, match=f"The files of {model.id} are missing"):
            look_up(model.id)


def test_only_the_models_that_were_used_last_stay_loaded(
    private: PrivateModels, records: TaughtStore, loader: Loader
) -> None:
    models = [record(FIRST) for _ in range(101)]
    for model in models:
        records.save(model)
    for model in models[:100]:
        private.load(model.id)
    private.load(models[0].id)
    private.load(models[100].id)
    assert loader.loads == 101
    private.load(models[0].id)
    assert loader.loads == 101, "it was used after the second one"
    private.load(models[1].id)
    assert loader.loads == 102
