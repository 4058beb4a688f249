from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
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


TRAINING = {"tensorflow", "keras", "sklearn", "matplotlib", "scipy", "pyarrow", "gradio"}


def test_predict_prints_one_line_for_each_photo(photo: Path) -> None:
    run = run_tensight("predict", photo)
    assert run.returncode == 0
    assert run.stdout.startswith(f"{photo}: ")
    assert run.stdout.count("\n") == 1


def test_predict_json_prints_one_object_for_each_photo(
    photo: Path, tmp_path: Path, catalog: Catalog
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    run = run_tensight("predict", photo, text, tmp_path / "missing.png", photo, "--json")
    assert run.returncode == 1
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["photo"] for line in lines] == [
        str(photo),
        str(text),
        *[str(tmp_path / "missing.png"), str(photo)],
    ]
    assert [line.get("error", {}).get("code") for line in lines] == [
        None,
        "not_an_image",
        "not_readable",
        None,
    ]
    assert set(lines[1]) == {"photo", "error"}
    assert lines[1]["error"]["message"].startswith("This is not a photo.")
    assert sum(lines[0]["scores"].values()) == pytest.approx(1)
    expected = catalog.load().predict(photo)
    assert lines[0]["scores"] == pytest.approx(expected.scores, abs=1e-5)
    assert {**lines[0], "timing_ms": 0, "scores": 0} == {
        **json.loads(json.dumps(expected.to_dict())),
        "timing_ms": 0,
        "scores": 0,
        "confidence": pytest.approx(expected.confidence, abs=1e-5),
        "known_score": pytest.approx(expected.known_score, abs=1e-5),
    }


def test_predict_reports_failures_on_stderr(photo: Path, tmp_path: Path) -> None:
    run = run_tensight("predict", tmp_path / "missing.png", photo)
    assert run.returncode == 1
    assert "missing.png: There is no file" in run.stderr
    assert run.stdout.startswith(f"{photo}: ")


def test_predict_accepts_file_name_that_is_not_utf8(photo: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    os.rename(photo, odd)  # noqa: PTH104  # pathlib would hide the bytes
    name = os.fsdecode(odd)
    run = run_tensight("predict", name, "--json", PYTHONIOENCODING="utf-8:strict")
    assert (run.returncode, json.loads(run.stdout)["photo"]) == (0, name)
    assert run_tensight("predict", name, PYTHONIOENCODING="utf-8:strict").returncode == 0


def test_predict_uses_model_of_option_or_setting(photo: Path) -> None:
    chosen = json.loads(run_tensight("predict", photo, "-m", "baseline", "--json").stdout)
    assert chosen["model"] == "baseline"
    by_setting = run_tensight("predict", photo, "--json", TENSIGHT_MODEL="baseline")
    assert json.loads(by_setting.stdout)["scores"] == chosen["scores"]


def test_predict_imports_no_training_packages(photo: Path) -> None:
    program = (
        "import sys\n"
        "from core.cli import main\n"
        f"sys.argv = ['tensight', 'predict', {str(photo)!r}, '--json']\n"
        "try:\n    main.main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        f"assert not {TRAINING} & {{name.split('.')[0] for name in sys.modules}}\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["label"]
