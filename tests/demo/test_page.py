"""The page on its real server, called by Gradio's own client and by curl."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest
from PIL import Image

from core.bundle.leaderboard import ModelInfo
from core.errors import ModelNotFoundError, PredictorError
from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from demo.app import build_page
from demo.classify_many import MAX_PHOTOS
from demo.context import ClientRateLimiter
from demo.model_choice import choice
from demo.tabs import about
from demo.tabs.batch_results import as_csv
from tests.conftest import ROOT
from tests.demo.running import served
from tests.support.catalogs import SlowCatalog
from tests.support.servers import wait_for


@contextmanager
def serving(predictor: LocalPredictor, **options: Any) -> Iterator[gradio_client.Client]:
    """Serve a page while the context is open, and yield a client of it."""
    with served(predictor, **options) as address:
        yield gradio_client.Client(address, verbose=False)


@pytest.fixture(scope="module")
def predictor(catalog: Catalog) -> Iterator[LocalPredictor]:
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    yield predictor
    predictor.close()


@pytest.fixture(scope="module")
def client(predictor: LocalPredictor) -> Iterator[gradio_client.Client]:
    with serving(predictor) as client:
        yield client


def ask(
    client: gradio_client.Client, photo: Path, model: str | None = "classic", **options: Any
) -> Any:
    return client.predict(gradio_client.handle_file(photo), model, api_name="/predict", **options)


def test_api_returns_the_predictions_of_the_classifier(
    client: gradio_client.Client, photo: Path, catalog: Catalog
) -> None:
    answer = ask(client, photo)
    expected = catalog.load("classic").predict(photo).to_dict()
    timing = answer.pop("timing_ms")
    assert set(timing) == set(expected.pop("timing_ms"))
    assert answer == expected | {"photo": None}


def test_api_returns_the_predictions_of_the_command_line(
    client: gradio_client.Client, photo: Path
) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "core.cli",
            "predict",
            str(photo),
            "--model",
            "classic",
            "--json",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    told = json.loads(run.stdout)
    answer = ask(client, photo)
    assert answer.keys() == told.keys()
    for name in answer.keys() - {"photo", "timing_ms"}:
        assert answer[name] == told[name], name


def test_prediction_changes_with_the_model(client: gradio_client.Client, photo: Path) -> None:
    answers = {name: ask(client, photo, name) for name in ("baseline", "classic", None)}
    assert [answer["model"] for answer in answers.values()] == [
        "baseline",
        "classic",
        "efficientnet",
    ]
    assert answers["baseline"]["scores"] != answers["classic"]["scores"]


def test_api_returns_saliency_on_request(client: gradio_client.Client, photo: Path) -> None:
    assert "saliency" not in ask(client, photo)
    assert ask(client, photo, saliency=True)["saliency"]["shape"] == [32, 32]


def test_compare_asks_every_model(
    client: gradio_client.Client, photo: Path, catalog: Catalog
) -> None:
    answer = client.predict(gradio_client.handle_file(photo), api_name="/compare")
    names = [entry.name for entry in catalog.models()]
    assert list(answer["answers"]) == names
    said = [
        "none" if each["verdict"] == "none" else each["label"]
        for each in answer["answers"].values()
    ]
    agreed = answer["agreement"]
    count = said.count(agreed["answer"])
    assert agreed == {"answer": agreed["answer"], "models": count, "of": len(names)}
    assert all(said.count(each) <= agreed["models"] for each in said)
    for name in names:
        expected = catalog.load(name).predict(photo).scores
        assert answer["answers"][name]["scores"] == pytest.approx(expected, abs=1e-5)


def test_bad_photo_of_a_batch_fails_alone(
    client: gradio_client.Client, photo: Path, tmp_path: Path, catalog: Catalog
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a photo at all")
    sent = [gradio_client.handle_file(each) for each in (photo, text, photo)]
    first, bad, last = client.predict(sent, "classic", api_name="/predict_batch")
    assert bad["error"]["code"] == "not_an_image"
    assert first["scores"] == last["scores"] == catalog.load("classic").predict(photo).scores


def test_batch_waits_while_the_predictor_is_busy(photo: Path) -> None:
    predictor = LocalPredictor(
        Catalog(Settings(models=ROOT / "models")), queue_size=2, deadline_s=30
    )
    with serving(predictor) as client:
        sent = [gradio_client.handle_file(photo)] * 12
        answers = client.predict(sent, "classic", api_name="/predict_batch")
    predictor.close()
    assert [answer["label"] for answer in answers] == [answers[0]["label"]] * 12


@pytest.mark.parametrize("n", [0, MAX_PHOTOS + 1])
def test_batch_size_is_limited(client: gradio_client.Client, n: int) -> None:
    (answer,) = client.predict([{"path": "x"}] * n, api_name="/predict_batch")
    assert answer["error"]["code"] == "bad_request"


def test_models_are_listed(client: gradio_client.Client, catalog: Catalog) -> None:
    rows = client.predict(api_name="/models")
    assert [row["name"] for row in rows] == [entry.name for entry in catalog.models()]
    assert [row["name"] for row in rows if row["default"]] == [catalog.default()]
    for row, entry in zip(rows, catalog.models(), strict=True):
        assert row["accuracy"] == entry.metrics.test.accuracy


class Leaving(LocalPredictor):
    """A remote predictor that becomes unreachable after some time."""

    is_offline = False

    def models(self) -> list[ModelInfo]:
        if self.is_offline:
            raise PredictorError("http://models.example cannot be reached.")
        return super().models()


def test_unavailable_predictor_lists_an_error(catalog: Catalog) -> None:
    predictor = Leaving(catalog, queue_size=1, deadline_s=30)
    with serving(predictor) as client:
        predictor.is_offline = True
        (row,) = client.predict(api_name="/models")
    predictor.close()
    assert row["error"]["code"] == "predictor"
    assert "unavailable right now" in row["error"]["message"]


def test_api_describes_the_types_of_results(client: gradio_client.Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/predict", "/predict_batch", "/compare", "/models"}
    assert "confidence: float" in endpoints["/predict"]["returns"][0]["python_type"]["type"]
    assert "error: " in endpoints["/models"]["returns"][0]["python_type"]["type"]


def test_curl_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(photo, tmp_path / "photo.jpg")
    command = about.CURL.replace("http://127.0.0.1:7860", client.src.rstrip("/"))
    run = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "event: complete" in run.stdout
    (answer,) = json.loads(run.stdout.split("data: ")[1])
    assert answer["model"] == "efficientnet"
    assert "label" in answer


def test_python_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    shutil.copy(photo, tmp_path / "photo.jpg")
    program = about.PYTHON.replace("http://127.0.0.1:7860", client.src)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    label, confidence = run.stdout.splitlines()[-1].split()
    answer = ask(client, photo, None)
    assert (label, float(confidence)) == (answer["label"], answer["confidence"])


# What the program asks of the package of this name, which is not here: its names become the fields
# that the page says it takes.
_CLIENT = """
import { readFileSync } from "node:fs";

export const handle_file = path => ({ file: path });

export class Client {
    static async connect(url) {
        const told = await fetch(`${url}/gradio_api/info`);
        return Object.assign(new Client(), { url, info: await told.json() });
    }

    async predict(endpoint, given) {
        const named = this.info.named_endpoints[endpoint].parameters;
        for (const name of Object.keys(given))
            if (!named.some(each => each.parameter_name == name)) throw new Error(name);
        const data = [];
        for (const each of named) {
            let value = given[each.parameter_name] ?? each.parameter_default ?? null;
            if (value?.file) {
                const form = new FormData();
                form.append("files", new Blob([readFileSync(value.file)]), value.file);
                const upload = { method: "POST", body: form };
                const sent = await fetch(`${this.url}/gradio_api/upload`, upload);
                value = { path: (await sent.json())[0], meta: { _type: "gradio.FileData" } };
            }
            data.push(value);
        }
        const call = `${this.url}/gradio_api/call${endpoint}`;
        const headers = { "content-type": "application/json" };
        const asked = { method: "POST", headers, body: JSON.stringify({ data }) };
        const { event_id } = await (await fetch(call, asked)).json();
        const stream = await (await fetch(`${call}/${event_id}`)).text();
        return { data: JSON.parse(stream.split("event: complete\\ndata: ")[1]) };
    }
}
"""


def test_javascript_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    shutil.copy(photo, tmp_path / "photo.jpg")
    package = tmp_path / "node_modules" / "@gradio" / "client"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"type": "module", "exports": "./client.js"}')
    (package / "client.js").write_text(_CLIENT)
    program = about.JAVASCRIPT.replace("http://127.0.0.1:7860", client.src.rstrip("/"))
    (tmp_path / "program.mjs").write_text(program)
    run = subprocess.run(
        [node, "program.mjs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    label, confidence = run.stdout.split()
    answer = ask(client, photo, None)
    assert (label, float(confidence)) == (answer["label"], answer["confidence"])


def test_non_photo_file_is_an_error(client: gradio_client.Client, tmp_path: Path) -> None:
    text = tmp_path / "photo.jpg"
    text.write_text("not a photo at all")
    error = ask(client, text)["error"]
    assert error["code"] == "not_an_image"
    assert "This file is not a photo" in error["message"]


def test_broken_model_is_an_error_without_a_traceback(
    client: gradio_client.Client, photo: Path, catalog: Catalog, monkeypatch: Any
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(catalog.load("classic"), "infer", broken)
    answer = ask(client, photo)
    assert answer["error"]["message"] == "Something went wrong on our side. Try again later."
    assert "secret" not in str(answer)


def test_file_over_the_size_limit_is_refused(client: gradio_client.Client, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21 * 2**20))
    with pytest.raises(Exception, match=r"413|exceed|too large"):
        ask(client, large)


def test_photos_beyond_the_rate_limit_are_refused(predictor: LocalPredictor, photo: Path) -> None:
    with serving(predictor, photo_limiter=ClientRateLimiter(2)) as client:
        answers = [ask(client, photo) for _ in range(3)]
        assert [answer.get("error", {}).get("code") for answer in answers] == [
            None,
            None,
            "too_many_requests",
        ]
        assert "Try again in" in answers[2]["error"]["message"]
        sent = [gradio_client.handle_file(photo)] * 3
        refused = client.predict(sent, api_name="/predict_batch")
        assert [each["error"]["code"] for each in refused] == ["too_many_requests"] * 3


def test_uploads_are_limited_in_rate_and_size(predictor: LocalPredictor, photo: Path) -> None:
    def send(client: gradio_client.Client, **headers: str) -> int:
        with photo.open("rb") as stream:
            sent = {"files": stream}
            url = f"{client.src}gradio_api/upload"
            return httpx.post(url, files=sent, headers=headers).status_code

    with serving(predictor, upload_limiter=ClientRateLimiter(2), proxies=1) as client:
        for told in ({"x-forwarded-for": "1.1.1.1, 2.2.2.2"}, {"x-forwarded-for": "9.9.9.9"}):
            assert [send(client, **told) for _ in range(3)] == [200, 200, 429]
        # What stands before the last address may be made up.
        assert send(client, **{"x-forwarded-for": "3.3.3.3, 2.2.2.2"}) == 429
        assert first_response(client, 2**40).startswith(b"HTTP/1.1 413")
        chunks = (each for each in [b"x"])
        assert httpx.post(f"{client.src}gradio_api/upload", content=chunks).status_code == 411


def first_response(client: gradio_client.Client, size: int) -> bytes:
    """Return the first bytes of the response to an upload of this size whose body is not sent."""
    host, port = client.src.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as asking:
        asking.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: page\r\nExpect: 100-continue\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        return asking.recv(100)


def test_upload_may_hold_a_whole_batch(client: gradio_client.Client) -> None:
    assert first_response(client, MAX_PHOTOS * MAX_BYTES).startswith(b"HTTP/1.1 100")


@pytest.mark.parametrize(
    "path",
    [
        *("monitoring", "monitoring/summary"),
        *("gradio_api/runs", "gradio_api/run-history/buckets", "gradio_api/run-history/records"),
    ],
)
def test_unused_gradio_routes_are_disabled(client: gradio_client.Client, path: str) -> None:
    assert httpx.get(f"{client.src}{path}").status_code in (403, 404)
    assert client.config["footer_links"] == ["api"]


def test_model_selector_shows_measured_figures(
    client: gradio_client.Client, catalog: Catalog
) -> None:
    model = next(c for c in client.config["components"] if c["props"].get("elem_id") == "model")
    choices = {name: shown for shown, name in model["props"]["choices"]}
    expected = {
        result.config.name: choice(result, "en")[0]
        for result in catalog.models()
        if result.config.offered
    }
    assert choices == expected
    assert model["props"]["value"] == catalog.default()


def test_page_without_a_model_does_not_start(tmp_path: Path) -> None:
    predictor = LocalPredictor(Catalog(Settings(models=tmp_path)), queue_size=1, deadline_s=1)
    with pytest.raises(ModelNotFoundError, match="tensight train"):
        build_page(predictor)
    predictor.close()


def test_models_of_any_labels_are_served(made_models: Path, photo: Path) -> None:
    predictor = LocalPredictor(Catalog(Settings(models=made_models)), queue_size=1, deadline_s=30)
    with serving(predictor) as client:
        answer = ask(client, photo, "shapes")
    predictor.close()
    assert sorted(answer["scores"]) == ["blue sky", "green bar", "red square"]
    assert sum(answer["scores"].values()) == pytest.approx(1)


def call(client: gradio_client.Client, payload: dict[str, str | None]) -> str:
    """Return the response to a program that uses HTTP directly, with a Dutch browser's header."""
    address = f"{client.src}gradio_api/call/predict"
    dutch = {"accept-language": "nl"}
    sent = httpx.post(address, json={"data": [payload, "classic", False]}, headers=dutch)
    return httpx.get(f"{address}/{sent.json()['event_id']}", timeout=120).text


@pytest.mark.parametrize(
    "payload",
    [
        {"path": str(ROOT / "docs" / "page.png")},
        {"path": "/etc/passwd", "url": None, "orig_name": "photo.jpg"},
        {"path": "a\0b.jpg"},
        {"url": "data:image/png;base64,iVBORw0KGgo="},
        {"path": None},
    ],
)
def test_path_outside_the_uploads_is_refused(
    client: gradio_client.Client, payload: dict[str, str | None]
) -> None:
    answer = call(client, payload)
    assert "De foto is niet meer beschikbaar." in answer
    assert '"code": "not_readable"' in answer


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "pyproject.toml"), "../etc/passwd"])
def test_files_of_the_server_are_not_served(client: gradio_client.Client, path: str) -> None:
    assert httpx.get(f"{client.src}gradio_api/file={path}").status_code in (403, 404)


def test_deleted_upload_is_an_error(client: gradio_client.Client, photo: Path) -> None:
    with photo.open("rb") as stream:
        (path,) = httpx.post(f"{client.src}gradio_api/upload", files={"files": stream}).json()
    assert '"label"' in call(client, {"path": path})
    Path(path).unlink()
    assert "De foto is niet meer beschikbaar." in call(client, {"path": path})


def test_busy_page_says_when_to_retry(photo: Path) -> None:
    catalog = SlowCatalog()
    predictor = LocalPredictor(catalog, queue_size=2, deadline_s=30)
    try:
        with serving(predictor) as client:
            sent = gradio_client.handle_file(photo)
            jobs = [client.submit(sent, "classic", api_name="/predict") for _ in range(5)]
            wait_for(lambda: sum(job.done() for job in jobs) == 3)
            refused = [job for job in jobs if job.done()]
            for job in refused:
                error = job.result()["error"]
                assert error["code"] == "busy"
                assert "Many photos are waiting right now. Try again in" in error["message"]
            catalog.go.set()
            answered = [job.result(timeout=120) for job in jobs if job not in refused]
            assert [answer["model"] for answer in answered] == ["classic"] * 2
    finally:
        catalog.go.set()
        predictor.close()


def test_uploads_are_deleted_after_minutes(predictor: LocalPredictor) -> None:
    assert build_page(predictor).delete_cache == (60, 300)


def test_health_route_responds(client: gradio_client.Client) -> None:
    assert httpx.get(f"{client.src}healthz").json() == {"status": "ok"}


def test_csv_cells_that_look_like_formulas_are_text(tmp_path: Path, catalog: Catalog) -> None:
    evil = tmp_path / "=cmd.jpg"
    Image.new("RGB", (40, 40)).save(evil)
    prediction = catalog.load("classic").predict(evil)
    row = prediction.to_dict() | {"photo": evil.name}
    written = next(csv.DictReader(io.StringIO(as_csv([row]))))
    assert written["photo"] == "'=cmd.jpg"
    assert float(written["confidence"]) == prediction.confidence
