"""The tab Predict: verdict, scores, saliency overlay and feedback for one photo."""

from __future__ import annotations

import asyncio
import functools
import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from PIL import Image

from core import locale
from core.bundle.leaderboard import ModelInfo, selectable
from core.errors import ImageError, PhotoReadError, RateError, TenSightError
from core.inference.prediction import Prediction
from core.photos.saliency import heat
from core.serving.predictor import PreviewedPrediction
from core.settings import processors
from core.store.feedback import NONE, Feedback, StoreResult
from core.store.store import Store
from core.text import escape_markdown
from demo.components import (
    bars,
    choice,
    chosen,
    data_url,
    photo_input,
    read_path,
    reliability,
    reliability_plot,
)
from demo.context import PageContext, error_of, language_of, refusal
from demo.tabs import examples

__all__ = ["build"]

_BARS = 5
_MAX_BARS = 20
# Longer side of the photo under the saliency overlay, in pixels.
_PICTURE = 640
_OPACITY = 0.6
# Both scripts run in the browser, without a request to the server. On a narrow screen, the first
# one scrolls to the answer, which is far below the photo.
_SHOW_ANSWER = """() => {
    const answer = document.getElementById("verdict");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (innerWidth < 700 && answer?.querySelector("h2, h3"))
        answer.scrollIntoView({behavior: still ? "auto" : "smooth", block: "center"});
}"""
_SET_OPACITY = "v => { document.documentElement.style.setProperty('--opacity', v); }"


@dataclass
class _Answered:
    """The answer that is shown to a visitor.

    Attributes:
        photo: Path of the upload.
        prediction: The prediction, without the saliency map, which a second request computes.
        result: The model that gave it.
        said: Whether feedback was given; it is accepted once for each answer.
    """

    photo: str
    prediction: Prediction
    result: ModelInfo
    said: bool = False


def build(context: PageContext, page: gr.Blocks) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        page: The page, whose load event fills the model selector.

    Raises:
        ModelNotFoundError: The predictor has no model.
        BundleError: The default model is damaged.
    """
    words, default = context.words, context.predictor.default_model()
    results = context.predictor.models()
    answered = gr.State(None)
    with gr.Row():
        with gr.Column():
            photo = photo_input(words("photo"), "photo")
            gr.Markdown(words("examples"))
            with gr.Row(elem_id="examples"):
                tried = {
                    str(path): gr.Button(words(name), size="sm", min_width=80)
                    for name, path in examples.write().items()
                }
            model = gr.Radio(
                [choice(result, "en") for result in selectable(results, default)],
                value=default,
                label=words("model"),
                info=words("model_info"),
                elem_id="model",
            )
            link = gr.HTML(elem_id="link")
            with gr.Accordion(words("trust"), open=False, elem_id="trust"):
                diagram = reliability_plot()
                calibration = gr.Markdown(elem_id="calibration")
            gr.Markdown(words("limits"))
        with gr.Column():
            verdict = gr.Markdown(words("verdict_waits"), elem_id="verdict")
            # All parts of the answer appear together, which avoids layout shifts.
            with gr.Column(visible=False, elem_id="answer") as answer:
                scores = gr.HTML(elem_id="scores")
                most = _max_bars(results)
                top = gr.Slider(
                    1,
                    most,
                    value=min(_BARS, most),
                    step=1,
                    label=words("top"),
                    elem_id="top",
                )
                timing = gr.Markdown(elem_id="timing")
                # The column reserves the space of the feedback form while its parts are hidden.
                with gr.Column(visible=context.store is not None, elem_id="said"):
                    with gr.Column(visible=False, elem_id="feedback") as feedback:
                        question = gr.Markdown()
                        keep = gr.Checkbox(False, label=words("feedback_keep"))
                        with gr.Row() as judge:
                            yes = gr.Button(words("feedback_yes"), size="md", min_width=100)
                            no = gr.Button(words("feedback_no"), size="md", min_width=100)
                        with gr.Row(visible=False, equal_height=True) as correction:
                            truth = gr.Dropdown(
                                [],
                                label=words("feedback_truth"),
                                scale=2,
                                min_width=150,
                                elem_id="truth",
                            )
                            send = gr.Button(words("feedback_send"), size="md", min_width=100)
                    thanks = gr.Markdown(elem_id="thanks")
                with gr.Accordion(words("why"), open=True, elem_id="why"):
                    opacity = gr.Slider(0, 1, value=_OPACITY, step=0.05, label=words("opacity"))
                    why = gr.HTML(elem_id="explained")
                with gr.Accordion(words("details"), open=False, elem_id="details"):
                    details = gr.JSON(show_label=False)

    drawing = asyncio.Semaphore(processors())

    async def predict(
        photo: str | None, model: str, top: float, request: gr.Request
    ) -> dict[Block, Any]:
        language = language_of(request)
        here, hidden = locale.page_texts(language), gr.update(visible=False)
        unasked: dict[Block, Any] = {answer: hidden, answered: None, why: ""}
        if photo is None:
            return unasked | {verdict: here["verdict_waits"]}
        try:
            context.visitors.check_rate(request)
            prediction = await context.predictor.predict(
                read_path(photo), model=model, client=context.visitors.client(request)
            )
            result = await asyncio.to_thread(context.result, model)
        except Exception as error:  # noqa: BLE001  # the edge of the process: a visitor reads words
            return unasked | {verdict: refusal(error, language)}
        # An unsure answer ("cat or dog") is neither right nor wrong: only the label is asked for.
        unsure = prediction.verdict == "unsure"
        return {
            verdict: f"## {escape_markdown(locale.format_verdict(prediction, language))}",
            answer: gr.update(visible=True),
            scores: _bars(prediction, top, language),
            timing: here["time"].format(
                title=escape_markdown(result.config.title),
                decode=locale.decimal(prediction.timing_ms.decode, 1, language),
                infer=locale.decimal(prediction.timing_ms.infer, 1, language),
            ),
            # The server's path of the upload is of no use to the visitor.
            details: prediction.to_dict() | {"photo": None},
            answered: _Answered(photo, prediction, result),
            feedback: gr.update(visible=context.store is not None),
            question: here["feedback_unsure" if unsure else "feedback"],
            # Consent applies to a single photo, so the checkbox is cleared for each.
            keep: False,
            judge: gr.update(visible=not unsure),
            correction: gr.update(visible=unsure),
            truth: gr.update(choices=_truths(prediction, language), value=None),
            thanks: "",
            why: "",
        }

    def fewer(answered: _Answered | None, top: float, request: gr.Request) -> str:
        if answered is None:
            return ""
        return _bars(answered.prediction, top, language_of(request))

    async def explain(answered: _Answered | None, request: gr.Request) -> str:
        if answered is None:
            return ""
        language, photo = language_of(request), answered.photo
        try:
            context.visitors.check_rate(request)
            previewed = await context.predictor.predict_with_preview(
                photo,
                model=answered.prediction.model,
                saliency=True,
                side=_PICTURE,
                client=context.visitors.client(request),
            )
            # Drawing is CPU-bound: at most one at a time for each processor.
            async with drawing:
                return await asyncio.to_thread(_explained, previewed, answered.result, language)
        except Exception as error:  # noqa: BLE001  # as above
            return f"<p>{html.escape(error_of(error, language)[1])}</p>"

    def trust(model: str, request: gr.Request) -> tuple[Any, ...]:
        """Render the reliability diagram of a model, and the permanent link to it."""
        language = language_of(request)
        try:
            result = context.result(model)
        except TenSightError as error:
            return gr.update(), locale.format_error(error, language), ""
        here = locale.page_texts(language)
        shown = html.escape(here["same_model"].format(title=result.config.title))
        address = f'<a href="?model={html.escape(model)}">{shown}</a>'
        drawn, told = reliability(result.metrics, language)
        return drawn, told, address

    def choices(request: gr.Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """Update the model selector from the current models and the query of the address."""
        try:
            there, value = chosen(context, request)
            most = _max_bars(context.predictor.models())
        except TenSightError:
            return gr.update(), gr.update()
        return gr.update(choices=there, value=value), gr.update(maximum=most)

    async def say(
        answered: _Answered | None, truth: str | None, keep: bool, request: gr.Request
    ) -> tuple[Any, ...]:
        """Store a visitor's feedback on an answer, once."""
        language = language_of(request)
        here, hidden = locale.page_texts(language), gr.update(visible=False)
        if answered is None or answered.said or context.store is None:
            return here["feedback_gone"], hidden
        if truth is None:
            return here["feedback_truth"], gr.update()
        if truth not in {NONE, *answered.prediction.scores}:
            return gr.update(), gr.update()  # a label of the previous answer
        answered.said = True
        try:
            context.visitors.check_rate(request)
            try:
                context.judges.check_rate(request)
            except RateError:
                return here["feedback_full"], hidden
            photo = await _archival(context, answered) if keep else None
            kept = await asyncio.to_thread(_keep, context.store, answered, truth, photo)
        except Exception as error:  # noqa: BLE001  # as above
            answered.said = False
            return refusal(error, language), gr.update()
        if not kept.feedback:
            return here["feedback_full"], hidden
        said = "feedback_kept" if kept.photo else "feedback_lost" if keep else "feedback_thanks"
        return here[said].format(title=escape_markdown(answered.result.config.title)), hidden

    async def confirm(
        answered: _Answered | None, keep: bool, request: gr.Request
    ) -> tuple[Any, ...]:
        truth = None
        if answered is not None:
            prediction = answered.prediction
            truth = NONE if prediction.verdict == "none" else prediction.label
        return await say(answered, truth, keep, request)

    private: dict[str, Any] = {"api_visibility": "private"}
    # Gradio's own queue limit is lifted: the predictor bounds the load, and its error says when to
    # retry.
    free: dict[str, Any] = private | {"concurrency_limit": None}
    told = [diagram, calibration, link]
    opened = page.load(choices, None, [model, top], **free, show_progress="hidden")
    opened.then(trust, model, told, **free)
    model.change(trust, model, told, **free)
    for path, button in tried.items():
        button.click(functools.partial(str, path), None, photo, **free, show_progress="hidden")
    asked = gr.on(
        [photo.change, model.change],
        predict,
        [photo, model, top],
        [
            *(verdict, answer, scores, timing, details, answered),
            *(feedback, question, keep, judge, correction, truth, thanks, why),
        ],
        **free,
        # After several quick changes, only the last one is answered.
        trigger_mode="always_last",
    )
    asked.then(
        explain,
        answered,
        why,
        **free,
        trigger_mode="always_last",
    )
    asked.then(None, js=_SHOW_ANSWER, **private)
    top.change(fewer, [answered, top], scores, **free, show_progress="hidden")
    opacity.input(None, opacity, None, js=_SET_OPACITY, **private)
    said = [thanks, feedback]
    yes.click(confirm, [answered, keep], said, **free)
    no.click(lambda: gr.update(visible=True), None, correction, **free, show_progress="hidden")
    send.click(say, [answered, truth, keep], said, **free)


def _max_bars(results: Sequence[ModelInfo]) -> int:
    return min(_MAX_BARS, max(len(result.config.labels) for result in results))


def _truths(prediction: Prediction, language: locale.Language) -> list[tuple[str, str]]:
    """List the choices for the true label: translated name and label, and `none` at the end."""
    labels = sorted((locale.label_name(label, language), label) for label in prediction.scores)
    return [*labels, (locale.page_texts(language)["feedback_none"], NONE)]


async def _archival(context: PageContext, answered: _Answered) -> bytes | None:
    """Return the photo as it is stored; None where the upload was deleted in the meantime."""
    with suppress(ImageError, PhotoReadError):
        return await context.predictor.archival_jpeg(answered.photo)
    return None


def _keep(store: Store, answered: _Answered, truth: str, photo: bytes | None) -> StoreResult:
    """Store feedback, and return what was stored."""
    prediction = answered.prediction
    return store.feedback.add(
        Feedback(
            front="page",
            model=prediction.model,
            revision=prediction.revision,
            answer=prediction.label,
            verdict=prediction.verdict,
            scores=prediction.scores,
            truth=truth,
            photo=photo,
        )
    )


def _bars(prediction: Prediction, top: float, language: locale.Language) -> str:
    return bars(prediction.scores, int(top), language, locale.page_texts(language)["scores"])


def _explained(previewed: PreviewedPrediction, result: ModelInfo, language: locale.Language) -> str:
    """Render the saliency overlay on the photo, and the model's resized input, as HTML."""
    here, spec, prediction = locale.page_texts(language), result.config.input, previewed.prediction
    of = {
        "label": html.escape(locale.label_name(prediction.label, language)),
        "title": html.escape(result.config.title),
        "width": spec.width,
        "height": spec.height,
        "infer": locale.decimal(prediction.timing_ms.infer, 1, language),
    }
    photo = Image.fromarray(previewed.preview)
    if prediction.saliency is None:
        coloured = f"<p>{here['why_not'].format(**of)}</p>"
    else:
        over = data_url(heat(prediction.saliency, photo.size, spec))
        coloured = (
            f'<figure><div class="layers"><img src="{data_url(photo, "JPEG")}" alt="">'
            f'<img class="heat" src="{over}" alt="{here["why_alt"].format(**of)}"></div>'
            f"<figcaption>{here['why_text'].format(**of)} {here['why_time'].format(**of)}"
            "</figcaption></figure>"
        )
    seen = data_url(Image.fromarray(previewed.model_input))
    return (
        f'<div class="explained">{coloured}<figure><img class="seen" src="{seen}" '
        f'alt="{here["seen_alt"]}"><figcaption>{here["seen_text"].format(**of)}</figcaption>'
        "</figure></div>"
    )
