from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import SettingsError
from core.settings import Settings
from tests.conftest import ROOT


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENSIGHT_PORT=1234\nTENSIGHT_MODEL=classic\n")
    monkeypatch.setenv("TENSIGHT_PORT", "4321")
    settings = Settings.read()
    assert (settings.port, settings.model) == (4321, "classic")


def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_PORT", "many")
    with pytest.raises(SettingsError, match="TENSIGHT_PORT=many: Input should be a valid integer"):
        Settings.read()


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_DATA", "")
    assert Settings.read().data is None


def test_settings_do_not_change_and_do_not_tell_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_HUB_TOKEN", "hf_very_secret")
    settings = Settings.read()
    assert "hf_very_secret" not in repr(settings)
    assert "hf_very_secret" not in str(settings.rows())
    assert "hf_very_secret" not in settings.model_dump_json()
    with pytest.raises(ValidationError):
        setattr(settings, "port", 1)  # noqa: B010  # the type checker knows that it cannot be


def test_models_lie_beside_core() -> None:
    assert Settings.read().models == ROOT / "models"


def test_the_settings_page_is_current() -> None:
    page = (ROOT / "docs" / "SETTINGS.md").read_text("utf-8")
    assert page == Settings.document() + "\n", "run make docs"
