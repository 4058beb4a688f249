"""Visitors who use the page's API through Gradio's client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio_client
import pytest

from core.registry.catalog import Catalog


def test_fifty_visitors_are_answered_or_told_to_retry(
    url: str, photo: Path, catalog: Catalog
) -> None:
    expected = catalog.load("classic").predict(photo).scores

    def visit_once(_: int) -> Any:
        # Its own timeout of 5 s is short for 50 uploads at once on a busy machine.
        client = gradio_client.Client(url, verbose=False, httpx_kwargs={"timeout": 120})
        return client.predict(gradio_client.handle_file(photo), "classic", api_name="/predict")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(visit_once, range(50)))
    refused = [answer for answer in answers if "error" in answer]
    assert {answer["error"]["code"] for answer in refused} <= {"busy"}
    assert len(refused) < 50
    assert all(answer["scores"] == expected for answer in answers if answer not in refused)


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
