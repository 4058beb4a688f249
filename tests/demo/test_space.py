"""A Space: its folder, its start in an otherwise empty environment, and its publication."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import gradio_client
import pytest
from packaging.requirements import Requirement
from pydantic import SecretStr

from core.bundle.folder import find_bundles
from core.errors import ModelNotFoundError, OutputError, SettingsError
from core.registry.catalog import Catalog
from core.settings import Settings
from demo import space
from tests.conftest import ROOT
from tests.support.hub_server import HubServer, Repo
from tests.support.servers import free_port, wait_until_it_answers

SETTINGS = Settings(models=ROOT / "models")


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


def test_folder_of_a_space_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    space.build(SETTINGS, folder)
    head = (folder / "README.md").read_text().split("---")[1]
    about = dict(line.split(": ", 1) for line in head.strip().splitlines())
    assert about["sdk"] == "gradio"
    assert about["sdk_version"] == metadata.version("gradio")
    assert about["app_file"] == "app.py"
    assert len(about["short_description"]) <= 60
    assert "@spaces.GPU" in (folder / "app.py").read_text()
    assert sorted(f.name for f in find_bundles(folder / "models")) == sorted(
        f.name for f in find_bundles(SETTINGS.models)
    )
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.\[\]-]+(==[\w.]+)?", each) for each in needed), "no addresses"
    assert any(each.startswith("psycopg") for each in needed)
    assert not list(folder.rglob("__pycache__"))
    assert not (folder / "core" / "training").exists()
    with pytest.raises(OutputError, match="is not empty"):
        space.build(SETTINGS, folder)
    with pytest.raises(ModelNotFoundError, match="There is no model"):
        space.build(Settings(models=tmp_path / "none"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_space_needs_the_extras_of_page_and_bot() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [
        f'{each}; extra == "{extra}"'
        for extra, several in project["optional-dependencies"].items()
        for each in several
    ]
    needed = space.space_requirements([*project["dependencies"], *declared])
    names = [re.split(r"[\[=]", each)[0] for each in needed]
    for extra in ("charts", "heif", "postgres", "teach"):
        for each in project["optional-dependencies"][extra]:
            assert Requirement(each).name in names
    assert "tensorflow" not in names
    assert len(names) == len(set(names)), "pip refuses a package that is named twice"


def only_what_is_named(folder: Path, requirements: Path) -> Path:
    """Make an environment with the packages of a file and their dependencies; return its Python.

    They are linked from the environment of the tests, since tests fetch nothing.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    lines = requirements.read_text().splitlines()
    wanted = [Requirement(line) for line in lines if "==" in line]
    done: set[tuple[str, str]] = set()
    while wanted:
        each = wanted.pop()
        for extra in each.extras or {""}:
            if (each.name.lower(), extra) in done:
                continue
            done.add((each.name.lower(), extra))
            there = metadata.distribution(each.name)
            for line in there.requires or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    wanted.append(needed)
            for top in {file.parts[0] for file in there.files or [] if file.parts[0] != ".."}:
                target = Path(str(there.locate_file(top)))
                if top != "__pycache__" and not (site / top).exists():
                    (site / top).symlink_to(target)
    return folder / "bin" / "python"


def test_space_starts_without_an_installation(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "space"
    space.build(SETTINGS, folder)
    python = only_what_is_named(tmp_path / "clean", folder / "requirements.txt")
    port, log = free_port(), tmp_path / "log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TENSIGHT", "PYTHON"))}
    settings = {
        "TENSIGHT_HOST": "127.0.0.1",
        "TENSIGHT_PORT": str(port),
        "TENSIGHT_HOME": str(tmp_path / "home"),
        "SPACE_ID": "owner/name",
    }
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [python, folder / "app.py"],
            cwd=tmp_path,
            env=environment | settings,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", server, log)
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        answer = client.predict(gradio_client.handle_file(photo), api_name="/predict")
    finally:
        server.terminate()
        server.wait(120)
    assert answer["scores"] == Catalog(SETTINGS).load().predict(photo).scores
    assert "Traceback" not in log.read_text()


def test_space_pins_the_commit_of_its_models(tmp_path: Path, hub: HubServer) -> None:
    hub.repos["owner/models"] = Repo()
    commit = hub.repos["owner/models"].commit({"README.md": b"models"})
    run = command(hub, "build", "space", TENSIGHT_HUB_REPO="owner/models", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert f'"TENSIGHT_HUB_REVISION": "{commit}"' in (tmp_path / "space" / "app.py").read_text()
    assert "models:\n  - owner/models\n" in (tmp_path / "space" / "README.md").read_text()


def test_space_is_published(tmp_path: Path, hub: HubServer) -> None:
    run = command(hub, "push", "owner/page", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    repo = hub.repos["spaces/owner/page"]
    sent = repo.commits[repo.refs["main"]]
    assert {"README.md", "app.py", "requirements.txt", "core/cli/main.py", "demo/app.py"} <= set(
        sent
    )
    assert "models/classic/model.tflite" in sent
    with pytest.raises(SettingsError, match="OWNER/NAME"):
        space.push(Settings(hub_token=SecretStr("x")), "https://wrong", message="m", private=False)


def command(
    hub: HubServer, *arguments: str, folder: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `tensight space` with the Hub of the tests."""
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    ours = {
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "hf"),
        "TENSIGHT_HUB_TOKEN": "hf_secret",
        "TENSIGHT_MODELS": str(ROOT / "models"),
    }
    return subprocess.run(
        [sys.executable, "-m", "core.cli", "space", *arguments],
        cwd=folder,
        env=environment | ours | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
