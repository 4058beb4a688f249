"""Visitors who use the page's API through Gradio's client."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio_client
import pytest

from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from tests.demo.running import served


def test_fifty_visitors_are_answered_or_told_to_retry(photo: Path, catalog: Catalog) -> None:
    expected = catalog.load("classic").predict(photo).scores
    places = 8
    predictor = LocalPredictor(catalog, queue_size=places, deadline_s=300)

    def visit_once(url: str) -> Any:
        # Its own timeout of 5 s is short for 50 uploads at once on a busy machine.
        client = gradio_client.Client(url, verbose=False, httpx_kwargs={"timeout": 120})
        return client.predict(gradio_client.handle_file(photo), "classic", api_name="/predict")

    with closing(predictor), served(predictor) as url, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(visit_once, [url] * 50))
    refused = [answer["error"] for answer in answers if "error" in answer]
    assert {error["code"] for error in refused} <= {"busy"}
    assert all(re.search(r"Try again in \d+ s", error["message"]) for error in refused)
    # The first ones find the queue empty, in whatever order they come.
    assert 50 - len(refused) >= places
    assert all(answer["scores"] == expected for answer in answers if "error" not in answer)


@pytest.mark.parametrize("name", ["cat_0.jpg", "none_piano.jpg", "ship_0.jpg"])
def test_real_photo_is_classified_by_two_models(url: str, name: str, photos_folder: Path) -> None:
    client = gradio_client.Client(url, verbose=False)
    photo = gradio_client.handle_file(photos_folder / name)
    answers = [
        client.predict(photo, model, api_name="/predict") for model in ("classic", "baseline")
    ]
    assert answers[0]["scores"] != answers[1]["scores"]
    for answer in answers:
        assert sum(answer["scores"].values()) == pytest.approx(1)
