from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import PredictorError
from core.serving.connect import connect, connect_command, local_predictor
from core.serving.local import LocalPredictor
from core.serving.remote import CLIENT_HEADER, RemotePredictor
from core.settings import Settings
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.hostile_photos import encoded
from tests.support.http_service import KEYS, MODELS


def test_settings_select_local_or_remote_predictor(tmp_path: Path) -> None:
    local = connect(Settings(models=MODELS))
    assert isinstance(local, LocalPredictor)
    local.close()
    settings = Settings(
        predictor_url="http://127.0.0.1:1", predictor_key=SecretStr(KEYS[0]), home=tmp_path
    )
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


def hashed(settings: Settings, client: str = "chat:1") -> str:
    """Return what a front that was just started sends to the service in place of a client."""
    with closing(connect(settings)) as front:
        assert isinstance(front, RemotePredictor)
        return front._client_header(client)[CLIENT_HEADER]


def test_clients_of_a_remote_front_are_the_same_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(predictor_url="http://127.0.0.1:1", home=tmp_path / "home")
    assert hashed(settings) == hashed(settings) != hashed(settings, "chat:2")
    other = settings.model_copy(update={"home": tmp_path / "other"})
    assert hashed(settings) != hashed(other)
    secret = {"secret": SecretStr("of all fronts")}
    assert len({hashed(each.model_copy(update=secret)) for each in (settings, other)}) == 1


@pytest.mark.parametrize("place", ["a Space", "a home that cannot be written"])
def test_front_that_can_keep_no_key_asks_for_a_secret(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    home = tmp_path / "home"
    if place == "a Space":
        monkeypatch.setenv("SPACE_ID", "owner/space")
    else:
        home.write_text("a file")
    settings = Settings(predictor_url="http://127.0.0.1:1", home=home)
    hashed(settings)
    assert "Set TENSIGHT_SECRET." in caplog.text
    caplog.clear()
    hashed(settings.model_copy(update={"secret": SecretStr("of all fronts")}))
    assert caplog.text == ""
