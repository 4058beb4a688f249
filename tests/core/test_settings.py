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


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("API_KEYS", ",", "holds no key"),
        ("API_KEYS", "clé", "a key is of letters, digits and signs of ASCII"),
        ("PREDICTOR_KEY", "with space", "a key is of letters, digits and signs of ASCII"),
        ("PREDICTOR_URL", "http://host:port", "is no address"),
        ("PREDICTOR_URL", "http://[::1", "is no address"),
        ("PREDICTOR_URL", "ftp://host", "should match pattern"),
        ("HUB_REPO", "a b/c", "should match pattern"),
    ],
)
def test_what_cannot_be_used_is_refused(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TENSIGHT_{variable}", value)
    with pytest.raises(SettingsError, match=f"TENSIGHT_{variable}=.*{message}"):
        Settings.read()


def test_keys_are_read_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_API_KEYS", "first, second")
    settings = Settings.read()
    assert [key.get_secret_value() for key in settings.api_keys] == ["first", "second"]
    assert not any("first" in value for _, value, _ in settings.rows())


@pytest.mark.parametrize("operators", ["1, 2", "7", ""])
def test_what_config_shows_can_stand_in_the_file(
    operators: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TENSIGHT_OPERATORS", operators)
    before = Settings.read()
    monkeypatch.delenv("TENSIGHT_OPERATORS")
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value, _ in before.rows()))
    assert Settings.read() == before


def test_lists_are_shown_as_they_are_written() -> None:
    rows = {name: value for name, value, _ in Settings(api_keys="a,b", operators="1,2").rows()}
    assert rows["TENSIGHT_API_KEYS"] == "**********,**********"
    assert rows["TENSIGHT_OPERATORS"] == "1,2"
    assert "| () |" not in Settings.document()
