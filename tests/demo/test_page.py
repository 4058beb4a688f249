"""The page, served for real, asked by Gradio's own client."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest

from core.catalog import Catalog
from core.errors import ModelNotFoundError
from core.predictor import LocalPredictor
from core.settings import Settings
from demo.app import build_page, launch
from tests.conftest import ROOT
from tests.ports import free_port
from tests.slow import SlowCatalog


@pytest.fixture(scope="module")
def predictor(catalog: Catalog) -> Iterator[LocalPredictor]:
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    yield predictor
    predictor.close()


@pytest.fixture(scope="module")
def client(predictor: LocalPredictor) -> Iterator[gradio_client.Client]:
    page = build_page(predictor)
    port = free_port()
    launch(page, host="127.0.0.1", port=port)
    yield gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
    page.close(verbose=False)


def ask(client: gradio_client.Client, photo: Path, model: str = "classic") -> Any:
    return client.predict(gradio_client.handle_file(photo), model, api_name="/predict")


def test_the_api_answers_as_the_classifier_does(
    client: gradio_client.Client, photo: Path, catalog: Catalog
) -> None:
    words, bars, timing, answer = ask(client, photo)
    expected = catalog.load("classic").predict(photo)
    assert answer["scores"] == pytest.approx(expected.scores, abs=1e-5)
    assert {**answer, "scores": 0, "timing_ms": 0, "confidence": 0, "known_score": 0} == {
        **expected.to_dict(),
        "photo": None,
        "scores": 0,
        "timing_ms": 0,
        "confidence": 0,
        "known_score": 0,
    }
    assert bars["label"] == expected.label
    assert words.startswith("## ")
    assert timing.startswith("classic: ")


def test_the_answer_changes_with_the_model(client: gradio_client.Client, photo: Path) -> None:
    answers = {name: ask(client, photo, name)[3] for name in ("baseline", "classic")}
    assert {name: answer["model"] for name, answer in answers.items()} == {
        "baseline": "baseline",
        "classic": "classic",
    }
    assert answers["baseline"]["scores"] != answers["classic"]["scores"]


def test_no_photo_is_told_so_in_words(client: gradio_client.Client, tmp_path: Path) -> None:
    text = tmp_path / "photo.jpg"
    text.write_text("not a photo at all")
    words, bars, _, answer = ask(client, text)
    assert "This file is no photo" in words
    assert not bars
    assert answer["error"]["code"] == "not_an_image"


def test_a_broken_model_is_no_stack_trace(
    client: gradio_client.Client, photo: Path, catalog: Catalog, monkeypatch: Any
) -> None:
    def broken(*_arguments: object, **_how: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(catalog.load("classic"), "answer", broken)
    words, _, _, answer = ask(client, photo)
    assert words == "### ⚠ Something went wrong on our side. Try again later."
    assert "secret" not in str(answer)


def test_files_over_the_limit_are_not_taken(client: gradio_client.Client, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21 * 2**20))
    with pytest.raises(Exception, match=r"413|exceed|too large"):
        ask(client, large)


def test_the_switch_shows_measured_figures(client: gradio_client.Client, catalog: Catalog) -> None:
    model = next(c for c in client.config["components"] if c["props"].get("elem_id") == "model")
    for entry in catalog.entries():
        assert any(
            name == entry.name and f"{entry.metrics.test.accuracy:.1%}" in shown
            for shown, name in model["props"]["choices"]
        )
    assert model["props"]["value"] == catalog.default()


def test_without_a_model_there_is_no_page(tmp_path: Path) -> None:
    predictor = LocalPredictor(Catalog(Settings(models=tmp_path)), queue_size=1, deadline_s=1)
    with pytest.raises(ModelNotFoundError, match="tensight train"):
        build_page(predictor)
    predictor.close()


def test_models_of_any_labels_are_served(made_models: Path, photo: Path) -> None:
    predictor = LocalPredictor(Catalog(Settings(models=made_models)), queue_size=1, deadline_s=30)
    page = build_page(predictor)
    port = free_port()
    launch(page, host="127.0.0.1", port=port)
    try:
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        answer = ask(client, photo, "shapes")[3]
    finally:
        page.close(verbose=False)
        predictor.close()
    assert sorted(answer["scores"]) == ["blue sky", "green bar", "red square"]
    assert sum(answer["scores"].values()) == pytest.approx(1)


def call(client: gradio_client.Client, payload: dict[str, str | None]) -> str:
    """What a program gets that speaks HTTP itself, with a Dutch browser's header."""
    address = f"{client.src}gradio_api/call/predict"
    dutch = {"accept-language": "nl"}
    sent = httpx.post(address, json={"data": [payload, "classic"]}, headers=dutch)
    return httpx.get(f"{address}/{sent.json()['event_id']}", timeout=30).text


@pytest.mark.parametrize(
    "payload",
    [
        {"path": str(ROOT / "docs" / "page.png")},
        {"path": "/etc/passwd", "url": None, "orig_name": "photo.jpg"},
        {"path": "a\0b.jpg"},
        {"url": "data:image/png;base64,iVBORw0KGgo="},
    ],
)
def test_only_uploads_are_read(
    client: gradio_client.Client, payload: dict[str, str | None]
) -> None:
    answer = call(client, payload)
    assert "De foto is hier niet, of niet meer." in answer
    assert '"code": "not_readable"' in answer


def test_an_upload_that_was_deleted_is_told_so(client: gradio_client.Client, photo: Path) -> None:
    with photo.open("rb") as stream:
        (path,) = httpx.post(f"{client.src}gradio_api/upload", files={"files": stream}).json()
    assert '"label"' in call(client, {"path": path})
    Path(path).unlink()
    assert "De foto is hier niet, of niet meer." in call(client, {"path": path})


def test_a_busy_page_says_when_to_come_back(photo: Path) -> None:
    catalog = SlowCatalog()
    predictor = LocalPredictor(catalog, queue_size=2, deadline_s=30)
    page = build_page(predictor)
    port = free_port()
    launch(page, host="127.0.0.1", port=port)
    try:
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        sent = gradio_client.handle_file(photo)
        jobs = [client.submit(sent, "classic", api_name="/predict") for _ in range(5)]
        refused = [job for job in jobs if _done_soon(job)]
        assert len(refused) == 3
        for job in refused:
            words, _, _, answer = job.result()
            assert "Many photos are waiting just now. Try again in" in words
            assert answer["error"]["code"] == "busy"
        catalog.go.set()
        answered = [job.result(timeout=30)[3] for job in jobs if job not in refused]
        assert [answer["model"] for answer in answered] == ["classic"] * 2
    finally:
        catalog.go.set()
        page.close(verbose=False)
        predictor.close()


def _done_soon(job: Any) -> bool:
    try:
        job.result(timeout=5)
    except concurrent.futures.TimeoutError:
        return False
    return True


def test_uploads_are_deleted_after_minutes(predictor: LocalPredictor) -> None:
    assert build_page(predictor).delete_cache == (60, 300)
