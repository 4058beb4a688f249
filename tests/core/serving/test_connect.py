from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import PredictorError
from core.serving.connect import connect, connect_command, local_predictor
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.hostile_photos import encoded
from tests.support.http_service import KEYS, MODELS


def test_settings_select_local_or_remote_predictor() -> None:
    local = connect(Settings(models=MODELS))
    assert isinstance(local, LocalPredictor)
    local.close()
    settings = Settings(predictor_url="http://127.0.0.1:1", predictor_key=SecretStr(KEYS[0]))
    remote = connect(settings)
    assert isinstance(remote, RemotePredictor)
    with pytest.raises(PredictorError, match="within 5 s"):
        remote.models()
    remote.close()


def test_fronts_start_workers_and_commands_do_not(photo: Path) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    front, command = local_predictor(settings), connect_command(settings)
    assert isinstance(command, LocalPredictor)
    answers = [asyncio.run(each.predict(photo)) for each in (front, command)]
    assert answers[0].scores == answers[1].scores
    assert front._photos is not None
    assert front._photos.process_ids()
    assert command._photos is not None
    assert command._photos.process_ids() == []
    heic = encoded(drawings.ship(64, 48), "AVIF")
    assert asyncio.run(command.predict(heic)).model == "classic"
    assert len(command._photos.process_ids()) == 1
    for each in (front, command):
        each.close()
