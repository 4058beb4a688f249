"""The container image, built and run: small, unprivileged and read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gradio_client
import httpx
import pytest

from tests.conftest import ROOT, need
from tests.support.container import Container, container, unpacked
from tests.support.servers import free_port, wait_until_it_answers
from tests.support.tools import require

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_MAX_BYTES = 900 * 10**6


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Build the image, from a registry or of Debian's packages."""
    for program in ("buildah", "runc"):
        require(program)
    need("buildah", os.geteuid() == 0, "only root may mount images")
    name = "localhost/tensight-test"
    subprocess.run(
        [ROOT / "deploy" / "build-image", name],
        env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
        check=True,
    )
    yield name
    subprocess.run(["buildah", "rmi", name], check=True, stdout=subprocess.DEVNULL)


def _ended(running: Container) -> int:
    return running.process.wait(300)


def test_image_is_small_and_has_no_installer(image: str) -> None:
    with unpacked(image) as (root, _):
        size = sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))
        sys.stdout.write(f"The image has {size / 1e6:,.0f} MB.\n")  # shown by `pytest -rP`
        assert size < _MAX_BYTES
        assert not list(root.glob("opt/tensight/bin/pip*"))
        packages = {path.name for path in root.glob("opt/tensight/lib/python3*/site-packages/*")}
    assert {
        "gradio",
        "matplotlib",
        "mcp",
        "pillow_heif",
        "psycopg",
        "scipy",
        "telegram",
    } <= packages
    assert not packages & {"setuptools", "tensorflow", "pytest"}


def test_page_answers_without_privileges_on_a_read_only_root(
    image: str, tmp_path: Path, photo: Path
) -> None:
    port = free_port()
    own = {"TENSIGHT_PORT": str(port), "TENSIGHT_HOST": "127.0.0.1"}
    url = f"http://127.0.0.1:{port}"
    began_at = time.monotonic()
    with container(image, tmp_path / "page", **own) as page:
        wait_until_it_answers(f"{url}/healthz", page.process, page.log)
        seconds = time.monotonic() - began_at
        sys.stdout.write(f"The page was ready after {seconds:.1f} s.\n")
        client = gradio_client.Client(url, verbose=False)
        sent = gradio_client.handle_file(photo)
        assert client.predict(sent, "classic", api_name="/predict")["model"] == "classic"

        assert page.run("id", "-u").stdout.strip() == "1000"
        status = page.run("cat", "/proc/1/status").stdout
        assert "CapEff:\t0000000000000000" in status
        for folder in ("/", "/opt/tensight", "/usr", "/var"):
            assert "Read-only" in page.run("touch", f"{folder}/file").stderr
        assert page.run("touch", "/data/file").returncode == 0
        assert (page.volume / "home" / "tensight.db").is_file()

        healthy = ["python", "/usr/local/lib/tensight/healthcheck.py", str(port), "/healthz"]
        assert page.run(*healthy).returncode == 0
        page.process.terminate()
        assert _ended(page) == 0
    assert "Traceback" not in page.log.read_text()


def test_command_chooses_service_or_bot(image: str, tmp_path: Path, photo: Path) -> None:
    port = free_port()
    own = {"TENSIGHT_SERVICE_PORT": str(port), "TENSIGHT_HOST": "127.0.0.1"}
    url = f"http://127.0.0.1:{port}"
    with container(image, tmp_path / "service", ["serve"], **own) as service:
        wait_until_it_answers(f"{url}/readyz", service.process, service.log)
        answer = httpx.post(f"{url}/v1/predict", content=photo.read_bytes(), timeout=300)
        assert answer.json()["verdict"] in {"known", "unsure", "none"}
    with container(image, tmp_path / "bot", ["bot"]) as bot:
        assert _ended(bot) == 1
    assert "TENSIGHT_TELEGRAM_TOKEN is not set" in bot.log.read_text()
