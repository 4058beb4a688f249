"""Example photos for the tab Predict, as thumbnails."""

from __future__ import annotations

import atexit
import functools
import html
import shutil
import tempfile
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.media import get_image
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from core import locale
from demo.components import data_url

__all__ = ["NAMES", "path", "seascape", "ship", "thumbnails", "thumbnails_html"]

NAMES = (
    *("cat", "cat_turned", "cat_close", "ship", "coffee"),
    *("rocket", "tower", "lion", "lion_blurred", "cheetah"),
)
"""Names of the examples: `example_` and the name is the key of its text."""

_PHOTOS = Path(__file__).parent.parent / "photos"
# Pixels of a thumbnail, for screens with two of them to a point.
_THUMBNAIL = 112
# The prediction is shown above the examples, out of sight of a visitor who has scrolled to them.
_PICK = """element.addEventListener("click", event => {
    const button = event.target.closest("button[data-name]");
    if (!button) return;
    trigger("pick", button.dataset.name);
    scrollTo(0, 0);
});"""


def thumbnails() -> gr.HTML:
    """Create a row of thumbnails; its event `pick` carries the name of an example."""
    return gr.HTML(thumbnails_html("en"), js_on_load=_PICK, elem_id="examples")


def thumbnails_html(language: locale.Language) -> str:
    """Render the thumbnails with their names."""
    texts = locale.page_texts(language)
    buttons = "".join(
        f'<button type="button" data-name="{name}"><img src="{_thumbnail(name)}" alt="" '
        f'width="56" height="56"><span>{html.escape(texts[f"example_{name}"])}</span></button>'
        for name in NAMES
    )
    return f'<div class="thumbnails">{buttons}</div>'


def path(name: str) -> str:
    """Return the path of an example photo.

    The files are deleted at process exit. Each pick copies one to Gradio's uploads, which Gradio
    deletes after some minutes.

    Args:
        name: One of `NAMES`; another name stands for the first.
    """
    file = _folder() / f"example-{name if name in NAMES else NAMES[0]}.jpg"
    if not file.exists():
        new = file.with_suffix(".new")
        _picture(file.stem.removeprefix("example-")).save(new, "JPEG", quality=88)
        new.replace(file)
    return str(file)


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tensight-examples-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _thumbnail(name: str) -> str:
    size = (_THUMBNAIL, _THUMBNAIL)
    return data_url(ImageOps.fit(_picture(name), size), "JPEG", quality=60)


def _picture(name: str) -> Image.Image:
    if name == "ship":
        return seascape(960, 720)
    kind, _, change = name.partition("_")
    bundled = _PHOTOS / f"{kind}.jpg"
    with Image.open(bundled if bundled.exists() else get_image(f"{kind}.jpg")) as file:
        photo = file.convert("RGB")
    if change == "turned":
        return photo.transpose(Image.Transpose.ROTATE_90)
    if change == "close":
        return photo.crop((90, 40, 250, 150)).resize((640, 440), Image.Resampling.BICUBIC)
    if change == "blurred":
        # So blurred that only some models reject it, and others take it for a cat or a dog.
        return photo.crop((16, 16, *photo.size)).filter(ImageFilter.GaussianBlur(8))
    return photo


def ship(width: int, height: int) -> Image.Image:
    """Draw a freighter on the sea under a clear sky.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """
    image = Image.new("RGB", (width, height), (150, 190, 230))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float, colour: str) -> None:
        draw.rectangle((left * width, top * height, right * width, bottom * height), colour)

    draw.rectangle((0, 0.62 * height, width, height), (40, 80, 130))
    hull = [(0.1, 0.52), (0.92, 0.52), (0.84, 0.68), (0.18, 0.68)]
    draw.polygon([(x * width, y * height) for x, y in hull], "#7a2020")
    box(0.16, 0.34, 0.3, 0.52, "#f0f0f0")
    box(0.2, 0.24, 0.25, 0.34, "#303030")
    for i, colour in enumerate(("#b04020", "#3060a0", "#c0a030", "#507050")):
        box(0.36 + 0.12 * i, 0.42, 0.46 + 0.12 * i, 0.52, colour)
    return image


def seascape(width: int, height: int) -> Image.Image:
    """Draw the scene of `ship` with waves, haze and slight defocus, closer to a real photo.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """
    rng = np.random.default_rng(0)

    def cloudy(rows: int, columns: int) -> NDArray[np.float64]:
        coarse = Image.fromarray(rng.integers(0, 256, (rows, columns), np.uint8))
        fine = coarse.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(fine, np.float64)[..., None] - 128

    plain = np.asarray(ship(width, height), np.float64)
    sea = np.abs(plain - (40, 80, 130)).sum(axis=-1, keepdims=True) == 0
    shaded = plain + np.where(sea, 0.35 * cloudy(120, 30), 0.12 * cloudy(10, 13))
    image = Image.fromarray(shaded.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(width / 400))
