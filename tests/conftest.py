"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import certifi
import pytest
from filelock import FileLock
from PIL import Image

from core.output import new_folder
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.support import drawings

ROOT = Path(__file__).parent.parent


def need(what: str, found: bool, reason: str) -> None:
    """Skip a test that lacks something; fail if TENSIGHT_TEST_REQUIRE names it."""
    if found:
        return
    if what in os.environ.get("TENSIGHT_TEST_REQUIRE", "").split():
        pytest.fail(f"required, and missing: {reason}")
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Keep the garbage collector from what stays for the whole run.

    It would traverse the modules and tests again and again, for seconds in each process.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clear the settings of the environment, and keep tests out of the user's folders."""
    for name in [name for name in os.environ if name.startswith("TENSIGHT_")]:
        if name != "TENSIGHT_TEST_REQUIRE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TENSIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let HTTP clients trust a single authority, as they read all of them each time one is made.

    Reading the usual 150 takes 30 ms, and no test connects to a public server.
    """
    end = "-----END CERTIFICATE-----\n"
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition(end)
    file = tmp_path_factory.mktemp("certificates") / "ca.pem"
    file.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this process its own folder of uploads, as `tensight web` does, and its own home.

    Gradio names an upload by its content, and a page that closes deletes what it was sent: two
    processes with one folder would delete each other's.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        # Fixtures of a whole run are made before those of a test.
        patch.setenv("TENSIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of TENSIGHT_DATA, as it was set when the tests started."""
    folder = _DATA
    need(
        "data",
        folder is not None and (Path(folder) / "cifar10").is_dir(),
        "TENSIGHT_DATA names no folder with cifar10/ in it",
    )
    return Path(folder or "")


@pytest.fixture(scope="session")
def photos_folder() -> Path:
    """Return the folder photos/ of TENSIGHT_DATA."""
    folder = Path(_DATA or "") / "photos"
    need(
        "data", bool(_DATA) and folder.is_dir(), "TENSIGHT_DATA names no folder with photos/ in it"
    )
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Debian's Chromium."""
    path = shutil.which("chromium")
    need("chromium", path is not None, "Debian's package chromium is not installed")
    return path or ""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a JPEG file of a drawn ship."""
    path = tmp_path / "ship.jpg"
    drawings.ship(640, 480).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def ship() -> Image.Image:
    """Return a drawn ship."""
    return drawings.ship(640, 480)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Return a catalog of the models of this repository."""
    return Catalog(Settings(models=ROOT / "models"))


@pytest.fixture(scope="session")
def made_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, `shapes`, trained by the whole pipeline on generated data.

    Its run is in `home` beside it. Processes that share the tests copy what one of them trained.
    """
    folder = tmp_path_factory.mktemp("made")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _train_shapes(folder)
    else:
        shared = tmp_path_factory.getbasetemp().parent / "made"
        with FileLock(shared.with_suffix(".lock")):
            if not shared.exists():
                with new_folder(shared) as new:
                    _train_shapes(new)
        shutil.copytree(shared, folder, dirs_exist_ok=True)
    return folder / "models"


def _train_shapes(folder: Path) -> None:
    from core.training.run import RunOptions
    from core.training.train import train
    from tests.support import made

    train(
        made.shapes(),
        made.dataset(),
        Settings(models=folder / "models", home=folder / "home"),
        RunOptions(0, False, made.Recorder()),
        command="tests",
    )


_DATA = os.environ.get("TENSIGHT_DATA")
