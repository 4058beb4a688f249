"""Feedback on predictions, given in Chromium and stored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.store import Store
from tests.support.command_line import run_tensight
from tests.support.visit import (
    choose_model,
    new_page,
    serving,
    upload_photo,
    visit,
)


def feedback_rows(home: Path) -> list[dict[str, Any]]:
    run = run_tensight("feedback", "stats", "--json", TENSIGHT_HOME=str(home))
    assert run.returncode == 0, run.stderr
    return list(json.loads(run.stdout))


def judge_two_predictions(page: Page, photo: Path) -> None:
    """Confirm one prediction, and correct another with a donated photo."""
    upload_photo(page, photo)
    # A double click counts once.
    page.locator("#action-right").dblclick()
    expect(page.locator("#thanks")).to_contain_text("counts towards the accuracy of Classic CNN")
    expect(page.locator("#action-right")).to_be_disabled()
    choose_model(page, "Airbench CNN")
    expect(page.locator("#timing")).to_contain_text("Airbench CNN · ")
    page.locator("#action-wrong").click()
    page.get_by_label("Donate my photo").check()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("What is in the photo?")
    page.locator("#truth input").click()
    page.get_by_role("option", name="truck").click()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("The photo was saved too")


def test_feedback_is_stored_once_with_the_donated_photo(
    browser: Browser, photo: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serving(tmp_path, TENSIGHT_MODEL="classic", TENSIGHT_HOME=str(home)) as (url, _):
        page = new_page(browser)
        visit(page, url)
        judge_two_predictions(page, photo)
        page.close()
    rows = feedback_rows(home)
    assert [(row["model"], row["n"], row["right"]) for row in rows] == [
        ("classic", 1, 1),
        ("scratch", 1, 0),
    ]
    run = run_tensight("feedback", "export", tmp_path / "wild", TENSIGHT_HOME=str(home))
    assert run.returncode == 0, run.stderr
    (kept,) = (tmp_path / "wild").glob("*.jpg")
    assert "truck" in (tmp_path / "wild" / "labels.csv").read_text()
    with Image.open(kept) as image:
        assert image.size == (640, 480)


def test_space_without_a_database_asks_for_no_feedback(
    photo: Path, tmp_path: Path, browser: Browser
) -> None:
    with serving(tmp_path, SPACE_ID="owner/space", TENSIGHT_HOME=str(tmp_path / "home")) as (
        url,
        _,
    ):
        page = new_page(browser)
        visit(page, url)
        upload_photo(page, photo)
        expect(page.locator("#action-why")).to_be_enabled()
        expect(page.locator("#action-right")).not_to_be_visible()
        # The Hub shows it in a frame.
        assert "iframeResizer.contentWindow" in page.content()
        page.close()
    assert not (tmp_path / "home" / "tensight.db").exists()


def test_space_with_a_database_asks_for_feedback(
    photo: Path, tmp_path: Path, browser: Browser
) -> None:
    settings = {
        "SPACE_ID": "owner/space",
        "TENSIGHT_HOME": str(tmp_path / "home"),
        "TENSIGHT_DATABASE_URL": f"sqlite:///{tmp_path / 'words.db'}",
    }
    with serving(tmp_path, **settings) as (url, _):
        page = new_page(browser)
        visit(page, url)
        upload_photo(page, photo)
        expect(page.locator("#action-right")).to_be_enabled()
        page.close()


class Unsure(LocalPredictor):
    """A predictor that is never sure."""

    async def predict(self, photo: Photo, **options: Any) -> Prediction:
        return replace(await super().predict(photo, **options), verdict="unsure")


def test_unsure_prediction_asks_for_the_class(
    catalog: Catalog, photo: Path, tmp_path: Path, visiting: Callable[..., Page]
) -> None:
    store = Store.open(Settings(home=tmp_path))
    page = visiting(Unsure(catalog, queue_size=8, deadline_s=30), store)
    upload_photo(page, photo)
    expect(page.get_by_text("Do you know what it is?")).to_be_visible()
    expect(page.locator("#action-wrong")).to_be_disabled()
    page.get_by_label("Donate my photo").check()
    page.locator("#truth input").click()
    page.get_by_role("option", name="ship").click()
    # The message states what was stored, not what was requested.
    for upload in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("ship.jpg"):
        upload.unlink()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("the photo could not be saved")
    (wild,) = store.feedback.stats()
    store.close()
    assert wild.n == 1
