"""The tab Predict: a photo, its prediction, and the actions on it."""

from __future__ import annotations

import asyncio
import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from core import locale
from core.errors import RateError, TenSightError
from core.inference.prediction import Prediction
from core.registry.taught import is_private
from core.serving.predictor import find_model
from core.settings import processors
from core.store.feedback import NONE
from demo.components import photo_input, read_path, text_html
from demo.context import PageContext, language_of, refusal_html
from demo.model_choice import chosen, default_choices
from demo.tabs import examples, feedback
from demo.tabs.answer import MAX_BARS, WAITING_SCORES, json_html, scores_html, verdict_html
from demo.tabs.explanation import PREVIEW_SIDE, explanation_html
from demo.tabs.feedback import ShownPrediction

__all__ = ["PredictTab", "build"]

_BARS = 3
_OPACITY = 0.6


@dataclass(frozen=True)
class PredictTab:
    """Components of the tab; `shown` holds the prediction that the visitor sees."""

    shown: gr.State
    photo: gr.Image
    verdict: gr.HTML
    scores: gr.HTML
    why: gr.Button
    compare: gr.Button
    right: gr.Button
    wrong: gr.Button
    share: gr.Button
    explained: gr.HTML
    keep: gr.Checkbox
    correction: gr.Column
    question: gr.HTML
    truth: gr.Dropdown
    send: gr.Button
    thanks: gr.HTML
    model: gr.Dropdown
    live: gr.Button
    examples: gr.HTML
    options: gr.HTML
    details: gr.HTML


def build(context: PageContext, page: gr.Blocks, *, live: bool) -> PredictTab:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        page: The page, whose load event fills the model selector.
        live: Whether to offer live predictions.

    Returns:
        The components of the tab.

    Raises:
        ModelNotFoundError: The predictor has no model.
        BundleError: The default model is damaged.
    """
    tab = _layout(context, live=live)
    _connect(tab, _Handlers(context, tab), page)
    return tab


def _layout(context: PageContext, *, live: bool) -> PredictTab:
    """Create the components, in the order of a narrow screen."""
    translate = context.translate
    parts: dict[str, Any] = {"shown": gr.State(None)}
    with gr.Row(elem_id="predict-row"):
        with gr.Column(min_width=300, elem_id="photo-column"):
            parts["photo"] = photo_input(translate("photo"), "photo")
            # Camera and live answer are filled by page.js.
            gr.HTML(elem_id="live-camera")
            parts["live"] = gr.Button(
                translate("live"), size="sm", min_width=0, visible=live, elem_id="live"
            )
        with gr.Column(min_width=300, elem_id="answer-column"):
            gr.HTML(elem_id="live-answer")
            parts["verdict"] = text_html(translate("verdict_waits"), elem_id="verdict")
            parts["scores"] = gr.HTML(WAITING_SCORES, elem_id="scores")
            with gr.Row(elem_id="actions"):
                for name in ("why", "compare", "right", "wrong", "share"):
                    asks = name in ("right", "wrong")
                    parts[name] = gr.Button(
                        translate(f"action_{name}"),
                        size="sm",
                        min_width=0,
                        interactive=False,
                        visible=context.store is not None or not asks,
                        elem_id=f"action-{name}",
                    )
            # The notice of page.js, whose place is not rendered again.
            gr.HTML('<p id="notice" role="status"></p>', elem_id="notices")
            parts |= _feedback_layout(context)
            parts["explained"] = gr.HTML(elem_id="explained")
            choices, default = default_choices(context.predictor)
            parts["model"] = gr.Dropdown(
                choices,
                value=default,
                label=translate("model"),
                info=translate("model_info"),
                filterable=False,
                elem_id="model",
            )
    text_html(translate("examples"), "h3", elem_id="examples-title")
    parts["examples"] = examples.thumbnails()
    # Not an accordion, whose scripts every visitor would load; page.js opens and closes it.
    with gr.Column(elem_id="options"):
        gr.Button(translate("options"), size="md", elem_id="options-toggle")
        with gr.Column(elem_id="options-content"):
            parts["options"] = gr.HTML(elem_id="options-view")
            parts["details"] = gr.HTML(elem_id="details")
    return PredictTab(**parts)


def _feedback_layout(context: PageContext) -> dict[str, Block]:
    """Create the form of the feedback, hidden until it is needed."""
    translate = context.translate
    with gr.Column(visible=False, elem_id="correction") as correction:
        question = gr.HTML(elem_id="question")
        truth = gr.Dropdown([], label=translate("feedback_truth"), elem_id="truth")
        send = gr.Button(translate("feedback_send"), size="md", elem_id="send")
    keep = gr.Checkbox(
        False,
        label=translate("feedback_keep"),
        visible=False,
        container=False,
        elem_id="keep",
    )
    thanks = gr.HTML(elem_id="thanks")
    return {
        "correction": correction,
        "question": question,
        "truth": truth,
        "send": send,
        "keep": keep,
        "thanks": thanks,
    }


def _connect(tab: PredictTab, handlers: _Handlers, page: gr.Blocks) -> None:
    """Attach the handlers to the events of the components."""
    private: dict[str, Any] = {"api_visibility": "private"}
    # Gradio's own queue limit is lifted: the predictor bounds the load, and its error says when to
    # retry. page.js dims the old prediction instead of Gradio's progress display.
    free: dict[str, Any] = private | {"concurrency_limit": None, "show_progress": "hidden"}
    page.load(handlers.load, None, [tab.model, tab.options, tab.examples], **free)
    predicted = gr.on(
        [tab.photo.change, tab.model.change],
        handlers.predict,
        [tab.photo, tab.model],
        [
            *(tab.shown, tab.verdict, tab.scores, tab.details, tab.explained),
            *(tab.why, tab.compare, tab.right, tab.wrong, tab.share),
            *(tab.correction, tab.question, tab.truth, tab.keep, tab.thanks),
        ],
        js="(...given) => { window.tensight?.pending(); return given; }",
        **free,
        # After several quick changes, only the last one is answered.
        trigger_mode="always_last",
    )
    predicted.then(None, js="() => window.tensight?.settle()", **private)
    tab.examples.pick(handlers.example, None, tab.photo, **free)
    explained = tab.why.click(handlers.explain, tab.shown, tab.explained, **free)
    explained.then(None, js="() => window.tensight?.toggleOverlay()", **private)
    tab.share.click(None, js="() => window.tensight?.share()", **private)
    tab.live.click(None, tab.model, js="model => window.tensight?.toggleLive(model)", **private)
    tab.model.change(None, tab.model, js="model => window.tensight?.setLiveModel(model)", **private)
    judged = [tab.thanks, tab.right, tab.wrong, tab.correction, tab.keep]
    tab.right.click(handlers.confirm, [tab.shown, tab.keep], judged, **free)
    tab.wrong.click(lambda: gr.update(visible=True), None, tab.correction, **free)
    tab.send.click(handlers.correct, [tab.shown, tab.truth, tab.keep], judged, **free)


class _Handlers:
    """Handlers of the tab's events.

    Args:
        context: Context of the page.
        tab: Components of the tab.
    """

    def __init__(self, context: PageContext, tab: PredictTab) -> None:
        self._context = context
        self._tab = tab
        # Drawing is CPU-bound: at most one at a time for each processor.
        self._drawing = asyncio.Semaphore(processors())

    def load(self, request: gr.Request) -> tuple[Any, str, Any]:
        """Fill the model selector from the current models and the query, and translate."""
        language = language_of(request)
        texts, bars, selector = locale.page_texts(language), MAX_BARS, gr.update()
        try:
            choices, value = chosen(self._context, request)
            results = self._context.predictor.models()
        except TenSightError:
            pass
        else:
            selector = gr.update(choices=choices, value=value)
            asked = request.query_params.get("model")
            if asked and asked != value:
                title = find_model(results, value).config.title
                gr.Info(texts["link_model_gone"].format(model=title))
            bars = min(bars, max(len(result.config.labels) for result in results))
        # The page comes with English names.
        named = gr.skip() if language == "en" else examples.thumbnails_html(language)
        return selector, _options_html(texts, bars), named

    def example(self, event: gr.EventData) -> str:
        """Return the path of the example photo that was picked."""
        return examples.path(str(event._data))

    async def predict(self, photo: str | None, model: str, request: gr.Request) -> dict[Block, Any]:
        """Classify the photo with the selected model."""
        language, context = language_of(request), self._context
        if photo is None:
            return self._nothing(locale.page_texts(language)["verdict_waits"])
        try:
            context.photo_limiter.check_rate(request)
            prediction = await context.predictor.predict(
                read_path(photo), model=model, client=context.photo_limiter.client(request)
            )
            result = await asyncio.to_thread(context.predictor.model, model)
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            return self._nothing(refusal_html(error, language))
        return self._answer(ShownPrediction(photo, prediction, result), language)

    def _nothing(self, text: str) -> dict[Block, Any]:
        """Show a sentence in place of a prediction."""
        tab, off, hidden = self._tab, gr.update(interactive=False), gr.update(visible=False)
        return {
            tab.shown: None,
            tab.verdict: text,
            tab.scores: WAITING_SCORES,
            tab.details: "",
            tab.explained: "",
            **dict.fromkeys((tab.why, tab.compare, tab.right, tab.wrong, tab.share), off),
            tab.correction: hidden,
            tab.keep: hidden,
            tab.thanks: "",
        }

    def _answer(self, shown: ShownPrediction, language: locale.Language) -> dict[Block, Any]:
        """Show a prediction, and enable the actions on it."""
        tab, prediction, on = self._tab, shown.prediction, gr.update(interactive=True)
        # An unsure prediction ("cat or dog") is neither right nor wrong: only the class is asked.
        unsure, asks = prediction.verdict == "unsure", self._asks(prediction)
        judge = gr.update(interactive=not unsure, visible=asks)
        return {
            tab.shown: shown,
            tab.verdict: verdict_html(prediction, language),
            tab.scores: scores_html(prediction, shown.result, language),
            tab.details: json_html(prediction, language),
            tab.explained: "",
            **dict.fromkeys((tab.why, tab.compare, tab.share), on),
            **dict.fromkeys((tab.right, tab.wrong), judge),
            tab.correction: gr.update(visible=unsure and asks),
            tab.question: locale.page_texts(language)["feedback_unsure"] if unsure else "",
            tab.truth: gr.update(choices=feedback.classes(prediction, language), value=None),
            # Consent applies to a single photo, so the checkbox is cleared for each.
            tab.keep: gr.update(value=False, visible=asks),
            tab.thanks: "",
        }

    def _asks(self, prediction: Prediction) -> bool:
        """Return whether a visitor is asked if a prediction is right.

        Visitors are not asked about models that they taught: feedback is for the other models.
        """
        return self._context.store is not None and not is_private(prediction.model)

    async def explain(self, shown: ShownPrediction | None, request: gr.Request) -> Any:
        """Render the explanation of the prediction, once; then the browser shows or hides it."""
        if shown is None or shown.explained:
            return gr.skip()
        language, context = language_of(request), self._context
        try:
            context.photo_limiter.check_rate(request)
            previewed = await context.predictor.predict_with_preview(
                shown.photo,
                model=shown.prediction.model,
                saliency=True,
                side=PREVIEW_SIDE,
                client=context.photo_limiter.client(request),
            )
            async with self._drawing:
                rendered = await asyncio.to_thread(
                    explanation_html, previewed, shown.result, language
                )
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            return refusal_html(error, language)
        shown.explained = True
        return rendered

    async def confirm(
        self, shown: ShownPrediction | None, keep: bool, request: gr.Request
    ) -> dict[Block, Any]:
        """Store that a prediction is right."""
        truth = None if shown is None else feedback.confirmed_class(shown.prediction)
        return await self.correct(shown, truth, keep, request)

    async def correct(
        self, shown: ShownPrediction | None, truth: str | None, keep: bool, request: gr.Request
    ) -> dict[Block, Any]:
        """Store the true class of a photo, once for each prediction."""
        language, context, tab = language_of(request), self._context, self._tab
        texts = locale.page_texts(language)
        if shown is None or shown.judged or context.store is None:
            return self._judged(texts["feedback_gone"])
        if truth is None:
            return {tab.thanks: texts["feedback_truth"]}
        if truth not in {NONE, *shown.prediction.scores} or not self._asks(shown.prediction):
            return {tab.thanks: ""}  # a class of the previous prediction, or a program's call
        shown.judged = True
        try:
            context.photo_limiter.check_rate(request)
            try:
                context.feedback_limiter.check_rate(request)
            except RateError:
                return self._judged(texts["feedback_full"])
            kept = await feedback.save(
                context,
                context.store,
                shown,
                truth,
                client=context.photo_limiter.client(request),
                keep_photo=keep,
            )
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            shown.judged = False
            return {tab.thanks: refusal_html(error, language)}
        if not kept.feedback:
            return self._judged(texts["feedback_full"])
        text = "feedback_kept" if kept.photo else "feedback_lost" if keep else "feedback_thanks"
        return self._judged(texts[text].format(title=html.escape(shown.result.config.title)))

    def _judged(self, text: str) -> dict[Block, Any]:
        """Show thanks for the feedback, and hide the form."""
        tab, off, hidden = self._tab, gr.update(interactive=False), gr.update(visible=False)
        return {
            tab.thanks: text,
            tab.right: off,
            tab.wrong: off,
            tab.correction: hidden,
            tab.keep: hidden,
        }


def _options_html(texts: dict[str, str], bars: int) -> str:
    """Render the options that the browser alone applies: number of bars and overlay opacity."""
    return (
        f'<div class="options"><label>{texts["top"]} <output>{_BARS}</output>'
        f'<input type="range" id="top" min="1" max="{bars}" value="{min(_BARS, bars)}"></label>'
        f"<label>{texts['opacity']}"
        f'<input type="range" id="opacity" min="0" max="1" step="0.05" value="{_OPACITY}">'
        "</label></div>"
    )
