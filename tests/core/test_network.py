"""Environment variables for proxies and certificates, and what they must not affect."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bot.app import build_application
from core.errors import BotError, HubUnavailableError, PredictorError
from core.network import broken_variable, is_loopback, network_hint, on_loopback
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.servers import free_port

DEAD = "http://127.0.0.1:9"
BROKEN = [
    ("ALL_PROXY", "socks://127.0.0.1:9/", "not socks"),
    ("all_proxy", "socks5://127.0.0.1:9", "need the package socksio"),
    ("HTTPS_PROXY", "http://host:port", "it is not a URL"),
    ("HTTP_PROXY", "http://", "it has no host name"),
    ("NO_PROXY", "localhost,[::1]", "without brackets"),
    ("SSL_CERT_FILE", "/gone/ca.pem", "No such file or directory"),
    ("SSLKEYLOGFILE", "/dev/null/keys", "its folder does not exist"),
]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSLKEYLOGFILE"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "value", "why"), BROKEN)
def test_invalid_variable_is_named(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broken_variable() is None
    monkeypatch.setenv(name, value)
    told = broken_variable()
    assert told is not None
    assert told.startswith(f"The environment variable {name}=")
    assert why in told
    with on_loopback():
        assert broken_variable() is None
        httpx.Client().close()
    assert os.environ[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "proxy.example:3128"),
        ("HTTPS_PROXY", "http://user:pa55@proxy.example:3128"),
        ("NO_PROXY", "localhost,127.0.0.1,::1,.example.com"),
        ("ALL_PROXY", ""),
        ("SSL_CERT_FILE", ""),
    ],
)
def test_valid_variable_is_not_reported(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert broken_variable() is None


def test_file_without_certificates_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert "contains no certificates" in (broken_variable() or "")


def test_proxy_of_a_url_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert network_hint("https://huggingface.co") == ""
    monkeypatch.setenv("https_proxy", "http://user:pa55@proxy.example:3128")
    hint = network_hint("https://huggingface.co")
    assert "variable https_proxy sends these requests to the proxy http://*" in hint
    assert "pa55" not in hint
    assert network_hint("http://other.example") == ""
    monkeypatch.setenv("NO_PROXY", "huggingface.co")
    assert network_hint("https://huggingface.co") == ""


@pytest.mark.parametrize(
    "value",
    [
        "user:sekret@127.0.0.1:9",
        "user:sekret@proxy:badport",
        "http://user:sek ret@proxy",
        "http://user:s/ek ret@proxy:badport",
        "nonsense://user:sekret@proxy",
        "socks5://user:p@sekret@proxy",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_password_of_a_proxy_is_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for url in ("https://huggingface.co", "http://models.example"):
        told = f"{broken_variable()} {network_hint(url)}"
        assert "sek" not in told
        assert "ret@" not in told


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000/x", True),
        ("http://localhost", True),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("http://[::1", False),
    ],
)
def test_loopback_urls_are_recognised(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(("name", "value", "why"), BROKEN[:3] + BROKEN[5:6])
def test_commands_that_need_the_network_name_the_variable(
    name: str, value: str, why: str, tmp_path: Path
) -> None:
    command = ["models", "list", "--remote", "--repo", "a/b"]
    run = run_tensight(*command, **{"HF_HUB_OFFLINE": "0", name: value})
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1
    assert f"{name}=" in line
    assert why in line


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, v, _ in BROKEN[:3] + BROKEN[5:6]])
def test_remote_predictor_names_the_invalid_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with (
        closing(RemotePredictor("http://models.example", timeout_s=1)) as remote,
        pytest.raises(PredictorError, match=f"The environment variable {name}=") as told,
    ):
        remote.models()
    assert str(told.value).count(name) == 1
    with (
        closing(RemotePredictor(f"http://127.0.0.1:{free_port()}", timeout_s=0.2)) as remote,
        pytest.raises(PredictorError) as told,
    ):
        remote.models()
    assert name not in str(told.value), "nothing stands between this computer and itself"


def test_remote_predictor_names_an_unreachable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    with (
        closing(RemotePredictor("http://models.example", timeout_s=0.3)) as remote,
        pytest.raises(PredictorError, match=f"HTTP_PROXY sends these .* proxy {DEAD}"),
    ):
        remote.models()


def test_hub_names_an_unreachable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.registry import hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    with pytest.raises(HubUnavailableError, match="variable HTTPS_PROXY sends these requests"):
        hub.resolve_commit("a/b", "main", token=None, timeout_s=0.3)


@pytest.mark.parametrize("variable", BROKEN[:2])
def test_bot_names_its_own_proxy_setting_only_if_it_is_set(
    variable: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value, _ = variable
    monkeypatch.setenv(name, value)
    given = {"models": ROOT / "models", "model": "classic", "home": tmp_path}
    given |= {"telegram_token": "123456:" + "a" * 35}

    def build(**more: str) -> None:
        settings = Settings.model_validate(given | more)
        from core.registry.catalog import Catalog

        predictor = LocalPredictor(Catalog(settings), queue_size=1, deadline_s=1)
        with closing(predictor), closing(Store.open(settings)) as store:
            build_application(settings, predictor, store)

    with pytest.raises(BotError, match=f"The environment variable {name}=") as told:
        build()
    assert "TENSIGHT_TELEGRAM_PROXY" not in str(told.value)
    with pytest.raises(BotError, match="TENSIGHT_TELEGRAM_PROXY is not a usable proxy"):
        build(telegram_proxy="nonsense")
    build(telegram_api_url="http://127.0.0.1:1/bot")
    build(telegram_proxy="http://127.0.0.1:1")
