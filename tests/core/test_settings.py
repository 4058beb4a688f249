from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.errors import PredictorError, SettingsError
from core.serving.remote import RemotePredictor
from core.settings import Settings
from tests.conftest import ROOT


def test_environment_takes_precedence_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("TENSIGHT_PORT=1234\nTENSIGHT_MODEL=classic\n")
    monkeypatch.setenv("TENSIGHT_PORT", "4321")
    settings = Settings.read()
    assert (settings.port, settings.model) == (4321, "classic")


def test_invalid_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_PORT", "many")
    with pytest.raises(SettingsError, match="TENSIGHT_PORT=many: Input should be a valid integer"):
        Settings.read()


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_DATA", "")
    assert Settings.read().data is None


def test_settings_are_frozen_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_HUB_TOKEN", "hf_very_secret")
    settings = Settings.read()
    assert "hf_very_secret" not in repr(settings)
    assert "hf_very_secret" not in str(settings.rows())
    assert "hf_very_secret" not in settings.model_dump_json()
    with pytest.raises(ValidationError):
        setattr(settings, "port", 1)  # noqa: B010  # the type checker knows that it cannot be


def test_models_folder_of_a_checkout_is_beside_core() -> None:
    assert Settings.read().models == ROOT / "models"


def test_settings_page_is_current() -> None:
    page = (ROOT / "docs" / "SETTINGS.md").read_text("utf-8")
    assert page == Settings.document() + "\n", "run make docs"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("API_KEYS", ",", "contains no key"),
        ("API_KEYS", "fifteen-letters", "at least 16 characters"),
        ("API_KEYS", "0123456789abcdef,short", "at least 16 characters"),
        ("PREDICTOR_KEY", "hunter2", "at least 16 characters"),
        ("SECRET", " \n", "is blank"),
        ("API_KEYS", "clé", "a key consists of printable ASCII characters"),
        ("PREDICTOR_KEY", "with space", "a key consists of printable ASCII characters"),
        ("PREDICTOR_URL", "http://host:port", "is not a URL"),
        ("PREDICTOR_URL", "http://[::1", "is not a URL"),
        ("PREDICTOR_URL", "ftp://host", "should match pattern"),
        ("HUB_REPO", "a b/c", "should match pattern"),
    ],
)
def test_invalid_value_is_rejected_with_a_reason(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TENSIGHT_{variable}", value)
    with pytest.raises(SettingsError, match=f"TENSIGHT_{variable}=.*{message}"):
        Settings.read()


PASSWORD = "pa55-w0rd"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_KEYS", f"0123456789abcdef,bad {PASSWORD}"),
        ("API_KEYS", f"é{PASSWORD}"),
        ("API_KEYS", PASSWORD),
        ("PREDICTOR_KEY", f"{PASSWORD}\n"),
        ("PREDICTOR_KEY", f"two words {PASSWORD}"),
        ("PREDICTOR_URL", f"ftp://me:{PASSWORD}@host"),
        ("PREDICTOR_URL", f"http://me:{PASSWORD}/x@host:port"),
        ("PREDICTOR_URL", f"http://host:port/?key={PASSWORD}"),
        ("TELEGRAM_API_URL", f"http://me:{PASSWORD}@host/nobot"),
        ("TELEGRAM_FILE_URL", f"http://me:{PASSWORD}@host/nobot"),
        ("OPERATORS", "123456:AAFfb1-pa55-w0rdpa55-w0rdpa55-w0rd"),
        ("HUB_REPO", "hf_pa55w0rdpa55w0rdpa55w0rd"),
    ],
)
def test_error_about_a_value_shows_no_secret(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TENSIGHT_{variable}", value)
    with pytest.raises(SettingsError, match=f"TENSIGHT_{variable}=") as told:
        Settings.read()
    said = "".join(traceback.format_exception(told.value))
    assert PASSWORD not in said
    assert "pa55w0rd" not in said


def test_password_in_a_url_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_PREDICTOR_URL", f"http://me:{PASSWORD}@host:8000/a?key=x")
    rows = {name: value for name, value, _ in Settings.read().rows()}
    assert rows["TENSIGHT_PREDICTOR_URL"] == "http://**********@host:8000/a?**********"
    remote = RemotePredictor(f"http://me:{PASSWORD}@127.0.0.1:1", timeout_s=0.1)
    try:
        with pytest.raises(PredictorError, match=r"http://\*+@127.0.0.1:1") as told:
            remote.models()
    finally:
        remote.close()
    assert PASSWORD not in str(told.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PREDICTOR_URL", "user:sekret@host:8000"),
        ("PREDICTOR_URL", "http://user:se kret@host"),
        ("PREDICTOR_URL", "http://user:sekret@host:badport"),
        ("PREDICTOR_URL", "http://user:p@sekret@host:badport"),
        ("TELEGRAM_API_URL", "user:sekret@host/bot"),
        ("TELEGRAM_FILE_URL", "http://user:se kret@host/bot"),
        ("HUB_REPO", "user:sekret@huggingface.co/owner/name"),
        ("HUB_REPO", "https://user:sekret@huggingface.co/owner/name"),
        ("PORT", "user:sekret@host"),
        ("LOG_LEVEL", "hf_sekretabcdefgh"),
        ("OPERATORS", "123456:sekretsekretsekretsekret"),
    ],
)
def test_credentials_in_an_invalid_value_are_masked(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TENSIGHT_{variable}", value)
    with pytest.raises(SettingsError, match=rf"TENSIGHT_{variable}=.*\*\*\*") as told:
        Settings.read()
    said = "".join(traceback.format_exception(told.value))
    assert "sekret" not in said
    assert "kret" not in said


def test_secrets_include_passwords_in_urls() -> None:
    settings = Settings(
        api_keys="0123456789abcdef,fedcba9876543210",
        hub_token=SecretStr("hf_x"),
        predictor_url="http://me:p%40ss@host",
        database_url=SecretStr("postgresql://me:dbpass@host/x"),
        telegram_proxy=SecretStr("http://me:proxypass@host:1"),
    )
    secrets = {"0123456789abcdef", "fedcba9876543210", "hf_x", "p%40ss", "p@ss"}
    assert secrets | {"dbpass", "proxypass"} <= set(settings.secrets())


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t\n"])
def test_whitespace_around_values_is_stripped(
    blank: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "TELEGRAM_TOKEN": "123456:abc",
        "HUB_TOKEN": "hf_x",
        "PREDICTOR_KEY": "0123456789abcdef",
        "API_KEYS": "0123456789abcdef",
        "DATABASE_URL": "sqlite:///x",
        "PREDICTOR_URL": "http://host:1",
        "HUB_REPO": "owner/name",
        "HOME": str(tmp_path),
        "PORT": "1234",
        "LOG_LEVEL": "ERROR",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"TENSIGHT_{name}", value)
    plain = Settings.read()
    for name, value in given.items():
        monkeypatch.setenv(f"TENSIGHT_{name}", f"{value}{blank}")
    assert Settings.read() == plain
    for name in given:
        monkeypatch.setenv(f"TENSIGHT_{name}", blank)
    monkeypatch.delenv("TENSIGHT_API_KEYS")
    assert Settings.read() == Settings(), "blank is as unset"


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff ", "\u200b", "\u00a0", "\u2060\n"])
def test_invisible_characters_around_values_are_stripped(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSIGHT_TELEGRAM_TOKEN", f"{mark}123456:abc{mark}")
    monkeypatch.setenv("TENSIGHT_API_KEYS", f"{mark}0123456789abcdef,{mark}fedcba9876543210{mark}")
    settings = Settings.read()
    assert settings.telegram_token is not None
    assert settings.telegram_token.get_secret_value() == "123456:abc"
    keys = [key.get_secret_value() for key in settings.api_keys]
    assert keys == ["0123456789abcdef", "fedcba9876543210"]
    monkeypatch.setenv("TENSIGHT_TELEGRAM_TOKEN", mark)
    assert Settings.read().telegram_token is None


@pytest.mark.parametrize("variable", ["PREDICTOR_URL", "TELEGRAM_API_URL", "TELEGRAM_FILE_URL"])
@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://h:port", "http://h:99999", "http://:80", "http://a..b", "http://h:0"],
)
def test_invalid_url_is_rejected(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = "" if variable == "PREDICTOR_URL" else "/bot"
    monkeypatch.setenv(f"TENSIGHT_{variable}", address + end)
    with pytest.raises(SettingsError, match=f"TENSIGHT_{variable}=.*is not a URL such as http"):
        Settings.read()
    for valid in ("http://[::1]:8081", "https://bücher.example", "http://my_host:1", "http://a."):
        monkeypatch.setenv(f"TENSIGHT_{variable}", valid + end)
        Settings.read()


def test_secret_of_the_hashes_is_not_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_SECRET", "stored hashes were made with this\n")
    secret = Settings.read().secret
    assert secret is not None
    assert secret.get_secret_value().endswith("this\n")


def test_api_keys_are_parsed_and_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["first-0123456789", "second-0123456789"]
    monkeypatch.setenv("TENSIGHT_API_KEYS", ", ".join(keys))
    settings = Settings.read()
    assert [key.get_secret_value() for key in settings.api_keys] == keys
    assert not any("first" in value for _, value, _ in settings.rows())


@pytest.mark.parametrize("operators", ["1, 2", "7", ""])
def test_output_of_config_can_be_read_again(
    operators: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TENSIGHT_OPERATORS", operators)
    before = Settings.read()
    monkeypatch.delenv("TENSIGHT_OPERATORS")
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value, _ in before.rows()))
    assert Settings.read() == before


KEYS = "0123456789abcdef,fedcba9876543210"


def test_lists_are_shown_comma_separated() -> None:
    rows = {name: value for name, value, _ in Settings(api_keys=KEYS, operators="1,2").rows()}
    assert rows["TENSIGHT_API_KEYS"] == "**********,**********"
    assert rows["TENSIGHT_OPERATORS"] == "1,2"
    assert "| () |" not in Settings.document()


def test_every_setting_is_in_one_group(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    names = [name for _, rows in settings.groups() for name, _, _ in rows]
    assert sorted(names) == sorted(f"TENSIGHT_{name.upper()}" for name in Settings.model_fields)
