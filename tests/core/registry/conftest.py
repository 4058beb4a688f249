"""A Hub on loopback, and installations that pull from it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.hub_server import Faults, HubServer, Repo
from tests.support.releases import (
    NAMES,
    REPO,
    Installation,
    files_of,
    retitled,
)


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return folders like `models/`: the bundled models, and two versions for the Hub."""
    folders = {}
    for version in ("bundled", "first", "second"):
        folder = folders[version] = tmp_path_factory.mktemp(version)
        for name in NAMES:
            shutil.copytree(ROOT / "models" / name, folder / name)
            retitled(folder / name, f"{name}, {version}")
        (folder / "README.md").write_text(f"# {version}\n")
    return folders


@pytest.fixture
def installation(
    hub: HubServer, versions: dict[str, Path], tmp_path: Path
) -> Iterator[Installation]:
    """Return an installation without pulled models; the Hub has the first version, tagged v1."""
    hub.repos[REPO] = Repo()
    sha = hub.repos[REPO].commit(files_of(versions["first"]))
    hub.repos[REPO].refs["v1"] = sha
    hub.faults = Faults()
    hub.token = None
    hub.redirect = True
    yield Installation(hub, tmp_path / "home", versions["bundled"])
    hub.faults = Faults()


@pytest.fixture(scope="module")
def pulled(versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home, to be copied, in which the first version was pulled and made live."""
    # From a Hub of its own: a test may have made the other one refuse requests.
    with HubServer().running() as hub:
        hub.repos[REPO] = Repo()
        hub.repos[REPO].commit(files_of(versions["first"]))
        installation = Installation(
            hub, tmp_path_factory.mktemp("pulled") / "home", versions["bundled"]
        )
        installation.succeed("pull", "--promote")
    return installation.home


@pytest.fixture
def deployed(installation: Installation, versions: dict[str, Path], pulled: Path) -> Installation:
    """Return an installation with the first version live; the second is the Hub's newest."""
    shutil.copytree(pulled, installation.home, symlinks=True)
    installation.hub.repos[REPO].commit(files_of(versions["second"]))
    return installation


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Return a Hub that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
