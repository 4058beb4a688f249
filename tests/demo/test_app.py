"""The page as it is built."""

from __future__ import annotations

from pathlib import Path

import gradio_client
import pytest

from core.errors import ModelNotFoundError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from demo.app import build_page
from demo.model_choice import choice


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


def test_uploads_are_deleted_after_minutes(predictor: LocalPredictor) -> None:
    assert build_page(predictor).delete_cache == (60, 300)
