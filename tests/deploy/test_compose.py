"""The compose file: one command starts everything, and only the proxy is public."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.tools import run_tool

DEPLOY = ROOT / "deploy"
OURS = {"page", "service-1", "service-2", "bot-1", "bot-2"}
OTHERS = {"caddy", "database", "grafana", "prometheus"}


def new_env(deploy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script new-env of a copy of deploy/."""
    command = [str(deploy / "new-env"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """Return a copy of deploy/."""
    return shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns(".env*"))


def composed(deploy: Path) -> dict[str, Any]:
    """Return the services as compose reads them, those of the bot too."""
    done = run_tool(
        "docker-compose", "--file", deploy / "compose.yml", "config", COMPOSE_PROFILES="bot"
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def test_compose_file_is_valid(deploy: Path) -> None:
    assert new_env(deploy, "photos.example").returncode == 0
    services = composed(deploy)
    assert set(services) == OURS | OTHERS
    assert services["caddy"]["environment"]["DOMAIN"] == "photos.example"
    bot = services["bot-1"]
    assert "--webhook=https://photos.example/telegram" in bot["command"]
    assert {next(iter(services[each]["command"])) for each in OURS} == {"web", "serve", "bot"}


def test_compose_file_needs_the_secrets_of_new_env(deploy: Path) -> None:
    done = run_tool("docker-compose", "--file", deploy / "compose.yml", "config")
    assert done.returncode != 0
    assert "run deploy/new-env" in done.stderr


def test_own_containers_can_write_to_their_volume_only(deploy: Path) -> None:
    new_env(deploy, "localhost")
    services = composed(deploy)
    for name in OURS:
        service = services[name]
        assert service["image"] == "tensight"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service, "the image says which"
        assert service["volumes"] == ["data:/data:rw"]
        assert service["healthcheck"]["test"][0] == "CMD"


def test_only_the_proxy_is_reached_from_outside(deploy: Path) -> None:
    new_env(deploy, "localhost")
    services = composed(deploy)
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"caddy", "grafana"}
    assert all(str(each).startswith("127.0.0.1:") for each in published["grafana"])
    assert set(services["database"]["networks"]) == {"back"}


def test_environment_consists_of_settings(deploy: Path) -> None:
    new_env(deploy, "localhost")
    for name, service in composed(deploy).items():
        if name in OURS:
            own = {each.removeprefix("TENSIGHT_").lower() for each in service["environment"]}
            assert own <= set(Settings.model_fields)
    # A token there would start a bot in the page, too.
    assert "TENSIGHT_TELEGRAM_TOKEN" not in composed(deploy)["page"]["environment"]


def test_settings_of_each_container_are_accepted(
    deploy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_env(deploy, "localhost")
    services = composed(deploy)
    for name in ("page", "service-1", "bot-1"):
        with monkeypatch.context() as patch:
            for variable, value in services[name]["environment"].items():
                patch.setenv(variable, str(value))
            settings = Settings.read()
        assert settings.proxies == 1
        assert settings.database_url is not None
        assert (settings.predictor_url is None) == (name == "service-1")
        if name == "service-1":
            front = services["page"]["environment"]["TENSIGHT_PREDICTOR_KEY"]
            assert [key.get_secret_value() for key in settings.trusted_keys] == [front]


@pytest.mark.parametrize("name", ["page", "service-1", "bot-1"])
def test_commands_exist(name: str, deploy: Path) -> None:
    new_env(deploy, "localhost")
    command = composed(deploy)[name]["command"]
    # Options are parsed before --help is answered.
    run = run_tensight(*command, "--help")
    assert run.returncode == 0, run.stderr


def test_mounted_files_exist_and_images_are_pinned(deploy: Path) -> None:
    new_env(deploy, "localhost")
    for name, service in composed(deploy).items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert "/" not in source or Path(source).exists(), source
        if name in OTHERS:
            assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?", service["image"])


def test_new_env_writes_private_secrets_once(deploy: Path) -> None:
    assert new_env(deploy).returncode == 2
    assert new_env(deploy, "localhost").returncode == 0
    file = deploy / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.read_text()
    secrets = re.findall(r"^[A-Z_]+=([0-9a-f]{64})$", written, re.MULTILINE)
    assert len(set(secrets)) == 4
    again = new_env(deploy, "localhost")
    assert again.returncode == 1
    assert "deploy/.env is there already" in again.stderr
    assert file.read_text() == written
    assert [each.name for each in deploy.glob(".env*")] == [".env"]
