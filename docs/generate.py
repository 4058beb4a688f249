"""Make the generated pages anew: python docs/generate.py, or `make docs`.

docs/RESULTS.md, docs/SETTINGS.md, models/README.md, the figures in README.md, and its picture.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from core.bundle.leaderboard import read_results
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.training.ablation_results import read_ablation
from core.training.evaluation import report
from demo.app import build_page, launch
from tests import drawings
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
_FIGURES = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def pages() -> dict[str, str]:
    """Content of every generated page by its path in the repository."""
    models = ROOT / "models"
    results = read_results(models)
    figures = f"\n{report.leaderboard(results)}\n{report.measured_on(results)}\n"
    readme = (ROOT / "README.md").read_text("utf-8")
    return {
        "README.md": _FIGURES.sub(lambda found: found[1] + figures + found[2], readme),
        "docs/RESULTS.md": report.results_page(results, read_ablation(models)),
        "docs/SETTINGS.md": Settings.document() + "\n",
        "models/README.md": report.index(results),
    }


def picture(path: Path) -> None:
    """A screenshot of the page with an answer, in Debian's Chromium."""
    predictor = LocalPredictor(
        Catalog(Settings(models=ROOT / "models")), queue_size=4, deadline_s=30
    )
    page = build_page(predictor)
    port = free_port()
    launch(page, host="127.0.0.1", port=port)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = Path(folder) / "ship.jpg"
        drawings.seascape(1200, 900).save(photo, quality=92)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 1000, "height": 740}, locale="en-GB")
        view.goto(f"http://127.0.0.1:{port}")
        view.set_input_files("#photo input[type=file]", photo)
        expect(view.locator("#verdict h2")).not_to_be_empty(timeout=30_000)
        view.wait_for_timeout(1_000)  # the bars grow to their length
        view.screenshot(path=path)
        browser.close()
    page.close(verbose=False)
    predictor.close()


if __name__ == "__main__":
    for name, content in pages().items():
        (ROOT / name).write_text(content, "utf-8")
    picture(ROOT / "docs" / "page.png")
