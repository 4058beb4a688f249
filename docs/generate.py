"""Write the generated pages: python docs/generate.py, or `make docs`.

docs/RESULTS.md, docs/SETTINGS.md, the cards and the index of models/, the figures in README.md, and
its pictures.
"""

from __future__ import annotations

import base64
import html
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

from bot import replies
from core.bundle.leaderboard import read_models
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.ablation_results import read_ablation
from core.training.evaluation.results_page import results_page
from core.training.evaluation.tables import index, readme_table
from core.training.evaluation.teaching_results import read_teaching
from core.training.pages import write_cards
from core.training.recipes import RECIPES
from tests.support.visit import serving, upload_photo, visit

ROOT = Path(__file__).parent.parent
_CHAT = """
<style>
  main {{ width: 380px; padding: 16px; background: #d6e4ee; font: 15px/1.35 sans-serif; }}
  img {{ display: block; width: 220px; margin: 0 0 12px auto; border-radius: 12px; }}
  p {{ margin: 0; padding: 10px 12px; background: #fff; border-radius: 12px;
       white-space: pre-line; }}
  div {{ display: flex; gap: 4px; margin-top: 4px; }}
  b {{ flex: 1; padding: 7px; border-radius: 8px; background: #7a97ab; color: #fff;
       text-align: center; font-weight: 500; }}
</style>
<main><img src="data:image/jpeg;base64,{photo}"><p>{text}</p>{rows}</main>
"""
_DESKTOP: dict[str, Any] = {"viewport": {"width": 1000, "height": 740}}
_PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
_FIGURES = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def pages() -> dict[str, str]:
    """Return the content of every generated page by its path in the repository."""
    models = ROOT / "models"
    results = read_models(models)
    bundled = [result for result in results if result.revision is not None]
    figures = f"\n{readme_table(bundled)}\n"
    readme = (ROOT / "README.md").read_text("utf-8")
    return {
        "README.md": _FIGURES.sub(lambda found: found[1] + figures + found[2], readme),
        "docs/RESULTS.md": results_page(
            results, read_ablation(models), RECIPES, read_teaching(models)
        ),
        "docs/SETTINGS.md": Settings.document() + "\n",
        "models/README.md": index(results),
    }


def page_picture(
    screen: dict[str, Any], browser: Browser, settings: Settings, photo: Path, path: Path
) -> None:
    """Write a screenshot of the page with a prediction.

    Args:
        screen: Options of the browser's page: its size and scale.
        browser: Draws the page.
        settings: `home` and `models` are used.
        photo: Photo to upload.
        path: Picture to write.
    """
    variables = {"TENSIGHT_HOME": str(settings.home), "TENSIGHT_MODELS": str(settings.models)}
    with serving(settings.home.parent, **variables) as (address, _):
        view = browser.new_page(**screen, locale="en-GB")
        visit(view, address)
        upload_photo(view, photo)
        expect(view.locator("#verdict h2")).not_to_be_empty(timeout=30_000)
        view.wait_for_timeout(1_000)  # the bars grow to their length
        view.screenshot(path=path)
        view.close()


def bot_picture(browser: Browser, settings: Settings, photo: Path, path: Path) -> None:
    """Write a picture of a chat: a photo, and the text and buttons that the bot replies with."""
    catalog = Catalog(settings)
    classifier = catalog.load()
    prediction = classifier.predict(photo)
    title = classifier.config.title
    keyboard = replies.answer_buttons("key", "en").inline_keyboard
    rows = "".join(
        f"<div>{''.join(f'<b>{html.escape(button.text)}</b>' for button in row)}</div>"
        for row in keyboard
    )
    view = browser.new_page(viewport={"width": 420, "height": 560}, device_scale_factor=2)
    view.set_content(
        _CHAT.format(
            photo=base64.b64encode(photo.read_bytes()).decode(),
            text=html.escape(replies.answer(prediction, title, "en")),
            rows=rows,
        )
    )
    view.locator("main").screenshot(path=path)
    catalog.close()


PICTURES: dict[str, Callable[[Browser, Settings, Path, Path], None]] = {
    "docs/page.png": partial(page_picture, _DESKTOP),
    "docs/phone.png": partial(page_picture, _PHONE),
    "docs/bot.png": bot_picture,
}
"""Functions that write the pictures of the README, by their paths in the repository."""


def pictures(root: Path) -> None:
    """Write the pictures of the README below a folder with Debian's Chromium."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        photo = ROOT / "demo" / "photos" / "cat.jpg"
        settings = Settings(models=ROOT / "models", home=Path(scratch) / "home")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, write in PICTURES.items():
            write(browser, settings, photo, root / name)
        browser.close()


if __name__ == "__main__":
    write_cards(ROOT / "models")
    for name, content in pages().items():
        (ROOT / name).write_text(content, "utf-8")
    pictures(ROOT)
