"""The API of the page, called by Gradio's own client and by HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest

from core.bundle.leaderboard import ModelInfo
from core.errors import PredictorError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from demo.classify_many import MAX_PHOTOS
from demo.context import ClientRateLimiter
from tests.conftest import ROOT
from tests.demo.running import ask, serving
from tests.support.catalogs import SlowCatalog
from tests.support.servers import wait_for


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
