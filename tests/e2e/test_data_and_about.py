"""The tabs Data and About in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from tests.support.visit import (
    keep_screenshot,
    new_page,
    open_tab,
    serving,
    visit,
)


def test_texts_follow_the_models(made_models: Path, visiting: Callable[..., Page]) -> None:
    made = Catalog(Settings(models=made_models))
    page = visiting(LocalPredictor(made, queue_size=1, deadline_s=30), share=True)
    open_tab(page, "Data")
    known = page.get_by_text("The models here recognise: red square, green bar, blue sky.")
    expect(known).to_be_visible()
    open_tab(page, "About")
    expect(page.locator("#about")).to_contain_text("at 32 pixels a side")
    expect(page.locator("#about")).to_contain_text("passes through Gradio's servers")
    expect(page.locator("#about")).not_to_contain_text("sends nothing to other")


def test_data_and_about_work_without_the_data_set(page: Page) -> None:
    open_tab(page, "Data")
    expect(page.get_by_text("50,000 for training")).to_be_visible()
    expect(page.locator("#data-counts li")).to_have_count(10)
    expect(page.locator("#data-hard li")).to_have_count(10)
    expect(page.locator("#data-missing")).to_contain_text("TENSIGHT_DATA")
    open_tab(page, "About")
    expect(page.get_by_text("Photos are processed on this server")).to_be_visible()
    expect(page.locator("#programs h4")).to_have_text(["curl", "Python", "JavaScript", "MCP"])
    expect(page.locator("#about-answer")).to_contain_text("Stefan van der Walt (CC0)")
    keep_screenshot(page, "about")


def test_data_tab_shows_images_of_an_installed_data_set(
    data_folder: Path, browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path, TENSIGHT_DATA=str(data_folder)) as (url, _):
        page = new_page(browser)
        visit(page, url)
        open_tab(page, "Data")
        page.locator("#data-show").click()
        expect(page.locator("#data-images img")).to_have_count(120)
        keep_screenshot(page, "data")
        page.close()
