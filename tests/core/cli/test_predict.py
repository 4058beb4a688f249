from __future__ import annotations

import json
import threading
from pathlib import Path

import httpx2
from PIL import Image

from core.registry.catalog import Catalog
from core.serving.http.auth import Guard
from core.settings import Settings
from tests.support.catalogs import SlowCatalog
from tests.support.command_line import run_tensight, start_client
from tests.support.http_service import MODELS, PATIENCE_S, post, serving
from tests.support.servers import free_port, wait_for


def test_predict_retries_while_the_service_is_busy(photo: Path, jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=1) as url:
        first = threading.Thread(target=post, args=(url,), kwargs={"content": jpeg})
        first.start()
        slow.wait_until_asked(1)
        run = start_client(url, "predict", photo)
        refused = 'tensight_errors_total{code="busy"}'
        wait_for(lambda: refused in httpx2.get(f"{url}/metrics").text)
        slow.go.set()
        out, error = run.communicate(timeout=PATIENCE_S)
        first.join()
    assert (run.returncode, error) == (0, "")
    assert out.startswith(f"{photo}: ")


def test_predict_waits_for_the_rate_limit(catalog: Catalog, photo: Path) -> None:
    settings = Settings(models=MODELS, rate_per_minute=1)
    with serving(settings, catalog, guard=Guard(settings, window_s=1)) as url:
        run = start_client(url, "predict", photo, photo, photo)
        out, error = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, error) == (0, "")
    assert out.count(f"{photo}: ") == 3


def test_predict_and_explain_use_the_configured_service(
    url: str, photo: Path, catalog: Catalog, tmp_path: Path
) -> None:
    # This client retries for seconds, while the others run.
    client = start_client(f"http://127.0.0.1:{free_port()}", "predict", photo)
    run = start_client(url, "predict", photo, "--model", "classic", "--json")
    printed, error = run.communicate(timeout=PATIENCE_S)
    expected = catalog.load("classic").predict(photo)
    assert json.loads(printed)["scores"] == expected.scores, error
    assert json.loads(printed)["photo"] == str(photo)
    unknown = start_client(url, "predict", photo, "--model", "nope")
    _, error = unknown.communicate(timeout=PATIENCE_S)
    assert (unknown.returncode, "There is no model 'nope'" in error) == (2, True)
    out = tmp_path / "why.png"
    explained = start_client(url, "explain", photo, "-m", "classic", "-o", out)
    _, error = explained.communicate(timeout=PATIENCE_S)
    assert explained.returncode == 0, error
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    _, error = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 1
    assert "TENSIGHT_PREDICTOR_URL" in error


def test_explain_writes_an_overlay_or_nothing(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    run = run_tensight("explain", photo, "-o", out)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{photo}: ")
    with Image.open(out) as picture:
        assert picture.size == (640, 480)
    run = run_tensight("explain", photo, "-o", tmp_path / "no" / "out.png")
    assert run.returncode == 1
    assert "cannot be written" in run.stderr
    assert not list(tmp_path.glob(".*.new"))
    run = run_tensight("explain", photo, "-o", tmp_path / "out.gif")
    assert run.returncode == 2
    assert "must end in" in run.stderr
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    before = out.read_bytes()
    run = run_tensight("explain", text, "-o", out)
    assert run.returncode == 1
    assert f"{text}: This is not a photo" in run.stderr
    assert out.read_bytes() == before
