"""What the tabs of the page share: who answers, how much a visitor may send, and the words."""

from __future__ import annotations

import asyncio
import base64
import functools
import html
import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas
from gradio.data_classes import ImageData
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from numpy.typing import NDArray
from PIL import Image

from core import locale
from core.bundle.leaderboard import Result, offered
from core.bundle.metrics import Metrics
from core.errors import ModelNotFoundError, PhotoReadError, RateError, TenSightError
from core.serving.predictor import Predictor
from core.store.store import Store

__all__ = [
    "Front",
    "Samples",
    "Visitors",
    "bars",
    "choice",
    "chosen",
    "data_url",
    "error_of",
    "language_of",
    "photo_input",
    "plain",
    "read_path",
    "refusal",
    "reliability",
    "reliability_plot",
    "table",
    "uploaded",
]

Samples = Callable[[], Mapping[str, Sequence[NDArray[np.uint8]]]]
"""Gives some images of a data set by label, each of shape (h, w, 3), uint8; or a DataError."""

# Images: what fewer of them give says nothing.
_FEW = 10

logger = logging.getLogger(__name__)


class Visitors:
    """Lets each visitor send so many photos a minute, and no more.

    Args:
        photos_per_minute: How many; a visitor is who comes from one address.
        proxies: Servers that stand before this one, and add whom they were asked by.
    """

    def __init__(self, photos_per_minute: int, proxies: int = 0) -> None:
        self._proxies = proxies
        self._limit = RateLimitItemPerMinute(photos_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def admit(self, request: gr.Request, photos: int = 1) -> None:
        """Count photos of a visitor.

        Raises:
            RateError: They are too many.
        """
        self.admit_address(request.client.host if request.client else "", request.headers, photos)

    def admit_address(self, address: str, headers: Mapping[str, str], photos: int = 1) -> None:
        """The same, by the address that a request came from, and its headers.

        Raises:
            RateError: They are too many.
        """
        passed_on = headers.get("x-forwarded-for", "").split(",")
        # What stands further left may be made up: each proxy adds who asked it on the right.
        who = passed_on[-self._proxies].strip() if 0 < self._proxies <= len(passed_on) else address
        # More than a minute's worth is taken once nothing else was sent.
        if not self._limiter.hit(self._limit, who, cost=min(photos, self._limit.amount)):
            free_at = self._limiter.get_window_stats(self._limit, who).reset_time
            raise RateError(max(1, math.ceil(free_at - time.time())))


@dataclass(frozen=True)
class Front:
    """What every tab is built with.

    Attributes:
        predictor: Who answers.
        store: Where feedback goes; None: visitors are not asked for it.
        visitors: Counts what each sends.
        batches: Places for photos of batches, all together: others are to be answered meanwhile.
        unbundled: Figures of models whose weights are not kept.
        samples: Gives images of the data set; None where it is not here.
    """

    predictor: Predictor
    store: Store | None
    visitors: Visitors
    batches: asyncio.Semaphore
    unbundled: tuple[Result, ...]
    samples: Samples | None

    @functools.cached_property
    def words(self) -> gr.I18n:
        """The words of the page, in the language of whoever looks at it."""
        return gr.I18n(**{language: locale.page_words(language) for language in locale.LANGUAGES})

    def result(self, name: str) -> Result:
        """Figures of a model that answers.

        Raises:
            ModelNotFoundError: There is none of that name.
            PredictorError: It cannot be asked for now.
        """
        for result in self.predictor.models():
            if result.config.name == name:
                return result
        raise ModelNotFoundError(f"There is no model called {name!r}.")


def photo_input(label: Any, elem_id: str) -> gr.Image:
    """A photo by upload, drop, paste or camera; handlers get its path, see `uploaded`."""
    # The image comes later than what stands under it.
    with gr.Column(elem_classes="photo-place"):
        photo = gr.Image(
            type="filepath",
            sources=["upload", "webcam", "clipboard"],
            label=label,
            height=360,
            elem_id=elem_id,
        )

    def path(payload: ImageData | None) -> str | None:
        return None if payload is None else uploaded(payload.path, photo.GRADIO_CACHE)

    # Gradio would open the file itself, and know neither our limits nor our words. A subclass would
    # do too, but Gradio writes a .pyi file beside each one.
    photo.preprocess = path  # type: ignore[method-assign]
    return photo


def uploaded(path: object, folder: str) -> str:
    """Path of an uploaded file; an empty one where it is none: a program can send any.

    Args:
        path: What was sent.
        folder: Where Gradio keeps uploads.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        return ""
    # `resolve` follows links, so none leads out of the folder.
    return path if Path(path).resolve().is_relative_to(Path(folder).resolve()) else ""


def language_of(request: gr.Request) -> locale.Language:
    """The browser's first language, as it is for what Gradio translates; else English."""
    accepted = request.headers.get("accept-language", "") if request.headers else ""
    tag = accepted.split(",")[0].split(";")[0].split("-")[0].strip().lower()
    return next((language for language in locale.LANGUAGES if tag == language), "en")


def error_of(error: Exception, language: locale.Language) -> tuple[str, str]:
    """Stable code of an error, and what a visitor reads; what is no error of ours is logged."""
    if isinstance(error, TenSightError):
        return error.code, locale.error_words(error, language)
    logger.error("The page failed", exc_info=error)
    return TenSightError.code, locale.error_words(TenSightError(), language)


def refusal(error: Exception, language: locale.Language) -> str:
    """Markdown that stands where an answer would."""
    return f"### ⚠ {error_of(error, language)[1]}"


def choice(result: Result, language: locale.Language) -> tuple[str, str]:
    """An entry of the switch between models: title, accuracy and speed; and the name."""
    figures = result.metrics
    accuracy = locale.decimal(100 * figures.test.accuracy, 1, language)
    speed = locale.decimal(figures.milliseconds, 1, language)
    return f"{result.config.title} · {accuracy}% · {speed} ms", result.config.name


def chosen(front: Front, request: gr.Request) -> tuple[list[tuple[str, str]], str]:
    """The switch's entries, and which of them `?model=` of the address chooses.

    Raises:
        ModelNotFoundError, PredictorError: As of the predictor.
    """
    results, value = front.predictor.models(), front.predictor.default_model()
    asked = request.query_params.get("model", "")
    if asked in [result.config.name for result in results]:
        value = asked
    shown = offered(results, front.predictor.default_model(), value)
    return [choice(result, language_of(request)) for result in shown], value


def reliability_plot() -> gr.LinePlot:
    """Where `reliability` is drawn."""
    return gr.LinePlot(
        x="confidence",
        y="accuracy",
        x_lim=[0, 1],
        y_lim=[0, 1],
        color="of",
        color_title=" ",
        height=270,
        show_label=False,
    )


def reliability(figures: Metrics, language: locale.Language) -> tuple[dict[str, Any], str]:
    """The reliability diagram as an update of a `gr.LinePlot`, and the same in sentences."""
    words = locale.page_words(language)
    bins = figures.test.reliability
    points = [(words["model"], each.confidence, each.accuracy) for each in bins if each.n >= _FEW]
    points += [(words["ideal"], 0.0, 0.0), (words["ideal"], 1.0, 1.0)]
    drawn = gr.update(
        value=pandas.DataFrame(points, columns=["of", "confidence", "accuracy"]),
        x_title=words["confidence"],  # a plot does not translate what it was built with
        y_title=words["right"],
    )
    sentences = [
        words["calibrated"].format(
            n=locale.decimal(figures.test.n, 0, language),
            ece=f"{locale.decimal(100 * figures.test.ece, 1, language)}%",
        )
    ]
    photos = figures.photos
    if photos is not None and photos.accuracy is not None and photos.confidence is not None:
        sentences.append(
            words["calibrated_on_photos"].format(
                n=photos.accuracy.n,
                confidence=f"{photos.confidence:.0%}",
                right=f"{photos.accuracy.share:.0%}",
            )
        )
    return drawn, " ".join(sentences)


def plain(text: str) -> str:
    """Text that Markdown shows as it is: labels may be anybody's."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]<>#+!|~$&" else sign for sign in text)


def bars(scores: Mapping[str, float], most: int, language: locale.Language, words: str = "") -> str:
    """HTML of the most probable labels, each with its confidence as a bar and in words.

    Args:
        scores: Probability of each label, most probable first.
        most: How many to show.
        language: Of the labels.
        words: What the list is of, for who cannot see it.
    """
    rows = "".join(
        f'<li style="--share:{score:.4f}"><span>{html.escape(locale.label_name(label, language))}'
        f"</span><span>{html.escape(locale.percent(score))}</span></li>"
        for label, score in list(scores.items())[:most]
    )
    return f'<ol class="bars" aria-label="{html.escape(words)}">{rows}</ol>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """HTML of a table whose first column names the rows; all cells are text.

    Args:
        head: Names of the columns.
        rows: As many cells each.
        caption: What the table is about.
    """
    columns = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    named = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # Who uses keys alone must be able to scroll it.
    name = html.escape(caption or head[0])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table>{named}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_url(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture to stand in a page itself: nothing is left on the server."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def read_path(path: str | None) -> str:
    """The path that a photo was uploaded to.

    Raises:
        PhotoReadError: It is none.
    """
    if not path:
        raise PhotoReadError
    return path
