"""The web page: one photo, several models, an answer in words and bars."""

from __future__ import annotations

import functools
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
import pandas
from gradio.data_classes import ImageData

from core import images, locale
from core.bundle import Calibration, Metrics
from core.errors import PhotoReadError, TenSightError
from core.first_pull import FirstPull
from core.predictor import LocalPredictor, Predictor, connect
from core.results import Result
from core.settings import Settings
from core.sockets import probe

__all__ = ["build_page", "launch", "serve"]

_BARS = 5
# Images: what fewer of them give says nothing.
_FEW = 10
# Seconds: how often uploads are looked through, and how old they may get.
_DELETE_UPLOADS = (60, 300)

logger = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the page until the process is told to stop, by Ctrl-C, a signal or a closed terminal.

    Args:
        settings: Where the models are, and how much is answered at once.
        host: Address to listen on.
        port: Port to listen on.
        open_browser: Whether to open the page in the browser of this desktop.
        say: Gets one line, once the page answers.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The address cannot be listened on.
    """
    stopped = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), lambda *_: stopped.set())
    predictor = connect(settings)
    with tempfile.TemporaryDirectory(prefix="tensight-") as uploads:
        # Gradio reads this when the page is built. The folder is this process's own: Gradio names
        # an upload by its content, and a page that closes would delete it under another's feet.
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build_page(predictor)
        try:
            launch(page, host=host, port=port, open_browser=open_browser)
            if isinstance(predictor, LocalPredictor):
                predictor.warm()
                with closing(FirstPull(settings)):
                    say(f"TenSight answers on {page.local_url}")
                    stopped.wait()
            else:
                say(f"TenSight answers on {page.local_url}")
                stopped.wait()
        finally:
            page.close(verbose=False)
            predictor.close()


def launch(page: gr.Blocks, *, host: str, port: int, open_browser: bool = False) -> None:
    """Start serving a page, and return.

    Raises:
        ListenError: The address cannot be listened on.
    """
    host = host.strip("[]")
    # Gradio's own errors do not tell a taken port from a wrong address.
    probe(host, port)
    page.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        max_file_size=images.MAX_BYTES,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        i18n=_words(),
        theme=_theme(),
    )


def build_page(predictor: Predictor) -> gr.Blocks:
    """The page, not yet served.

    Args:
        predictor: Who answers.

    Raises:
        ModelNotFoundError: The predictor has no model.
        BundleError: The default model is damaged.
    """
    default = predictor.default_model()
    words = _words()

    async def predict(
        photo: str | None, model: str, request: gr.Request
    ) -> tuple[str, dict[str, float] | None, str, dict[str, Any] | None]:
        """Tell what is in a photo.

        Args:
            photo: The file of a photo.
            model: Name of the model.
            request: Whose language is answered in.

        Returns:
            The verdict in words, the largest confidences, the time it took, and the whole answer
            with stable names. Where there is no answer: a sentence that says why and what to
            do, nothing, nothing, and {"error": {"code", "message"}}.
        """
        if photo is None:
            return "", None, "", None
        language = _language(request)
        if not photo:
            return _refusal(PhotoReadError(), language)
        try:
            prediction = await predictor.predict(photo, model=model)
        except Exception as error:  # noqa: BLE001  # the edge of the process: a visitor reads words
            return _refusal(error, language)
        bars = {locale.label_name(k, language): v for k, v in prediction.scores.items()}
        timing = locale.page_words(language)["time"].format(
            model=prediction.model,
            decode=f"{prediction.timing_ms.decode:.1f}",
            infer=f"{prediction.timing_ms.infer:.1f}",
        )
        # The path of the upload means nothing to who sent it.
        answer = prediction.to_dict() | {"photo": None}
        return f"## {_plain(locale.verdict_words(prediction, language))}", bars, timing, answer

    def trust(model: str, request: gr.Request) -> tuple[dict[str, Any], str]:
        """How often a model is right when it says how sure it is, drawn and in words."""
        figures = next(r.metrics for r in predictor.models() if r.config.name == model)
        here = locale.page_words(_language(request))
        drawn = gr.update(
            value=_reliability(figures.test.reliability, here),
            x_title=here["confidence"],  # a plot does not translate what it was built with
            y_title=here["right"],
        )
        return drawn, _calibration(figures, here)

    page = gr.Blocks(title="TenSight", analytics_enabled=False, delete_cache=_DELETE_UPLOADS)
    with page:
        gr.Markdown("# TenSight")
        gr.Markdown(words("intro"))
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    label=words("photo"),
                    height=360,
                    elem_id="photo",
                )
                # Gradio would open the file itself, and know neither our limits nor our words. A
                # subclass would do too, but Gradio writes a .pyi file beside each one.
                photo.preprocess = functools.partial(  # type: ignore[method-assign]
                    _uploaded, folder=Path(photo.GRADIO_CACHE).resolve()
                )
                model = gr.Radio(
                    [(_choice(result), result.config.name) for result in predictor.models()],
                    value=default,
                    label=words("model"),
                    info=words("model_info"),
                    elem_id="model",
                )
                with gr.Accordion(words("trust"), open=False, elem_id="trust"):
                    diagram = gr.LinePlot(
                        x="confidence",
                        y="accuracy",
                        x_lim=[0, 1],
                        y_lim=[0, 1],
                        color="of",
                        color_title=" ",
                        height=260,
                        show_label=False,
                    )
                    calibration = gr.Markdown(elem_id="calibration")
            with gr.Column():
                verdict = gr.Markdown(elem_id="verdict")
                scores = gr.Label(
                    num_top_classes=_BARS,
                    label=words("scores"),
                    show_heading=False,
                    elem_id="scores",
                )
                timing = gr.Markdown(elem_id="timing")
                with gr.Accordion(words("details"), open=False):
                    details = gr.JSON(show_label=False)
        gr.Markdown(words("limits"))
        gr.on(
            [page.load, model.change],
            trust,
            model,
            [diagram, calibration],
            api_visibility="private",
            show_progress="hidden",
        )
        gr.on(
            [photo.change, model.change],
            predict,
            [photo, model],
            [verdict, scores, timing, details],
            api_name="predict",
            # The predictor is the one bound: it says in our words when to come back.
            concurrency_limit=None,
            # Whoever switches fast gets the answer for the last choice.
            trigger_mode="always_last",
        )
    return page


def _refusal(
    error: Exception, language: locale.Language
) -> tuple[str, None, str, dict[str, dict[str, str]]]:
    if isinstance(error, TenSightError):
        sentence, code = locale.error_words(error, language), error.code
    else:
        logger.error("A prediction failed", exc_info=error)
        sentence, code = locale.error_words(TenSightError(), language), TenSightError.code
    return f"### ⚠ {sentence}", None, "", {"error": {"code": code, "message": sentence}}


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: labels may be anybody's."""
    return re.sub(r"([\\`*_{}\[\]<>#+!|~$&])", r"\\\1", text)


def _words() -> gr.I18n:
    return gr.I18n(**{language: locale.page_words(language) for language in locale.LANGUAGES})


def _theme() -> gr.themes.Base:
    """Fonts of the visitor's own device: nothing is fetched from elsewhere."""
    return gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _choice(result: Result) -> str:
    figures = result.metrics
    return f"{result.config.title} · {figures.test.accuracy:.1%} · {figures.milliseconds:.1f} ms"


def _reliability(bins: tuple[Calibration, ...], words: dict[str, str]) -> pandas.DataFrame:
    """The reliability diagram as rows: a line of the model's bins, and the line of the ideal."""
    points = [(words["model"], each.confidence, each.accuracy) for each in bins if each.n >= _FEW]
    points += [(words["ideal"], 0.0, 0.0), (words["ideal"], 1.0, 1.0)]
    return pandas.DataFrame(points, columns=["of", "confidence", "accuracy"])


def _calibration(figures: Metrics, words: dict[str, str]) -> str:
    """The same in sentences, with what it is on photos where that was measured."""
    sentences = [words["calibrated"].format(n=figures.test.n, ece=f"{figures.test.ece:.1%}")]
    photos = figures.photos
    if photos is not None and photos.accuracy is not None and photos.confidence is not None:
        sentences.append(
            words["calibrated_on_photos"].format(
                n=photos.accuracy.n,
                confidence=f"{photos.confidence:.0%}",
                right=f"{photos.accuracy.share:.0%}",
            )
        )
    return " ".join(sentences)


def _uploaded(payload: ImageData | None, *, folder: Path) -> str | None:
    """Path of an uploaded file; an empty one where the payload is no uploaded file.

    Args:
        payload: What the browser or a program sent; a program can send any path.
        folder: Where Gradio keeps uploads.
    """
    if payload is None:
        return None
    path = payload.path or ""
    inside = "\0" not in path and Path(path).resolve().is_relative_to(folder)
    return path if inside else ""


def _language(request: gr.Request) -> locale.Language:
    """The first language of the browser that there are words in; else English."""
    accepted = request.headers.get("accept-language", "") if request.headers else ""
    for part in accepted.split(","):
        tag = part.split(";")[0].split("-")[0].strip().lower()
        for language in locale.LANGUAGES:
            if tag == language:
                return language
    return "en"
