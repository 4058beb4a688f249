"""Taught models of chats, as far as no photos are needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bot.taught_models import HeldModel, TaughtModels
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.registry.taught import TaughtRecord, new_id
from core.serving.predictor import Predictor
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.taught import write_taught


def models(tmp_path: Path, bundled: Path = ROOT / "models") -> TaughtModels:
    settings = Settings(models=bundled, home=tmp_path / "home")
    return TaughtModels(settings, cast("Predictor", None), b"key")


def record_of(owner: str) -> TaughtRecord:
    return TaughtRecord(id=new_id(), title="Shapes", owner=owner, revision="0" * 12, created=0.0)


def test_public_model_belongs_to_no_chat(tmp_path: Path) -> None:
    taught = models(tmp_path)
    for name in ("classic", new_id()):
        assert not asyncio.run(taught.may_use(5, name))
        assert not asyncio.run(taught.owns(5, name))
    assert asyncio.run(taught.of_chat(5)) == []
    assert not asyncio.run(taught.exist())


def test_chat_is_recognised_by_its_hash(tmp_path: Path) -> None:
    taught = models(tmp_path)
    owner = taught.owned.hash_owner("chat:5")
    record = record_of(owner)
    assert taught.is_own(5, record)
    assert not taught.is_own(6, record)
    assert taught.is_among(5, {owner})
    assert not taught.is_among(6, {owner})


def test_forgetting_waits_for_models_that_are_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(BundleError, match="There are no models in"):
        models(tmp_path, tmp_path / "models").forget_sender("person")


def test_operators_see_a_code_in_place_of_the_id(tmp_path: Path) -> None:
    bundle = write_taught(tmp_path / "shapes", Bundle.open(ROOT / "models" / "classic"))
    record = record_of("0" * 64)
    held = HeldModel(record, bundle.config.labels, bundle.metrics().taught, 9)
    assert held.photos == 6
    assert held.code not in record.id
    assert HeldModel(record, (), None, 0).photos == 0
