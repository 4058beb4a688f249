"""The tab Teach: a visitor teaches a classifier of their own, and tries it."""

from __future__ import annotations

import asyncio
import html
import json
import math
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from core import locale
from core.errors import RateError, TeachingError, TenSightError
from core.inference.prediction import Prediction
from demo.components import photo_input, read_path, text_html
from demo.context import ClientRateLimiter, PageContext, language_of, refusal_html
from demo.tabs.answer import WAITING_BARS, bars_html, verdict_html
from demo.tabs.teach_form import form_html
from demo.tabs.teach_report import (
    model_html,
    progress_html,
    refusal_of,
    report_html,
    use_html,
)
from demo.teaching import PageFullError, PageTeaching
from demo.teaching_photos import PhotosToTeach, TeachingDraft, UploadedPhoto

__all__ = ["TeachTab", "build"]

# Photos that one client may teach in an hour, apart from the photos a minute.
_PHOTOS_PER_HOUR = 5_000
_HOUR_S = 3600.0
# Interval between two steps of the progress.
_STEP_S = 0.3
_CHECKED, _TAUGHT = "checked", "taught"


@dataclass(frozen=True)
class TeachTab:
    """Components of the tab.

    `visitor`, `draft` and `asked` carry what the browser alone knows: the visitor's key, and the
    photos. `checked` tells how far an attempt came, `taught` holds the id of the classifier that
    was taught last, `learned` which photo corrected which one, and `file` the path of a download.
    """

    visitor: gr.HTML
    draft: gr.HTML
    checked: gr.HTML
    asked: gr.HTML
    taught: gr.HTML
    form: gr.HTML
    start: gr.Button
    said: gr.HTML
    report: gr.HTML
    notes: gr.HTML
    empty: gr.HTML
    own: gr.Column
    model: gr.Dropdown
    photo: gr.Image
    live: gr.Button
    verdict: gr.HTML
    scores: gr.HTML
    wrong: gr.Button
    correction: gr.Column
    truth: gr.Dropdown
    learn: gr.Button
    corrected: gr.HTML
    learned: gr.HTML
    about: gr.HTML
    download: gr.Button
    offer: gr.Button
    withdraw: gr.Button
    delete: gr.Button
    file: gr.HTML


def build(
    context: PageContext,
    teaching: PageTeaching,
    tab: gr.Tab,
    teaching_limiter: ClientRateLimiter | None = None,
    *,
    live: bool,
) -> TeachTab:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        teaching: Teaches the classifiers.
        tab: The tab, whose opening fills it.
        teaching_limiter: Rate limiter of photos to teach; None for 5,000 an hour.
        live: Whether to offer live predictions.

    Returns:
        The components of the tab.
    """
    parts = _layout(context, live=live)
    limiter = teaching_limiter or ClientRateLimiter(_PHOTOS_PER_HOUR, window_s=_HOUR_S)
    _connect(parts, _Handlers(context, teaching, limiter, parts), tab)
    return parts


def _layout(context: PageContext, *, live: bool) -> TeachTab:
    """Create the components, in the order of a narrow screen."""
    translate = context.translate
    parts: dict[str, Any] = {}
    for name in ("visitor", "draft", "checked", "asked", "taught", "learned", "file"):
        parts[name] = gr.HTML(visible=False)
    with gr.Row(elem_id="teach-row"):
        with gr.Column(scale=3, min_width=300, elem_id="teach-main"):
            # The cards of the classes are filled by teach.js.
            parts["form"] = gr.HTML(elem_id="teach-view", elem_classes="teach-plain")
            parts["start"] = gr.Button(
                translate("teach_start"), variant="primary", elem_id="teach-start"
            )
            # The notice of teach.js, whose place is not rendered again.
            gr.HTML('<p id="teach-notice" role="status"></p>', elem_id="teach-notices")
            parts["said"] = gr.HTML(elem_id="teach-said")
            parts["report"] = gr.HTML(elem_id="teach-report")
            parts["notes"] = gr.HTML(elem_id="teach-notes")
        with gr.Column(scale=2, min_width=300, elem_id="teach-side"):
            text_html(translate("teach_try"), "h3", elem_id="teach-try-title")
            parts["empty"] = text_html(translate("teach_nothing"), elem_id="teach-empty")
            # Invisible until there is a classifier, since Gradio loads the scripts of all visible
            # components.
            with gr.Column(visible=False, elem_id="teach-own") as own:
                parts["own"] = own
                parts |= _own_layout(context, live=live)
    return TeachTab(**parts)


def _own_layout(context: PageContext, *, live: bool) -> dict[str, Block]:
    """Create the components for using a classifier."""
    translate = context.translate
    model = gr.Dropdown([], label=translate("teach_mine"), filterable=False, elem_id="teach-model")
    with gr.Column(elem_id="teach-try"):
        with gr.Column(elem_id="teach-photo-column"):
            photo = photo_input(translate("photo"), "teach-photo")
            # Camera and live answer are filled by page.js.
            gr.HTML(elem_id="teach-live-camera")
            live_button = gr.Button(
                translate("live"), size="sm", min_width=0, visible=live, elem_id="teach-live"
            )
        gr.HTML(elem_id="teach-live-answer")
        gr.HTML('<p id="teach-live-notice" role="status"></p>', elem_id="teach-live-notices")
        verdict = gr.HTML(elem_id="teach-verdict")
        scores = gr.HTML(elem_id="teach-scores")
        correcting = _correction_layout(context)
    about = gr.HTML(elem_id="teach-about", elem_classes="teach-plain")
    with gr.Row(elem_id="teach-actions"):
        # At most one of the two about the offer is visible, once a classifier is shown.
        download, offer, withdraw, delete = (
            gr.Button(
                translate(f"teach_{name}"),
                size="sm",
                min_width=0,
                visible=name not in ("offer", "withdraw"),
                elem_id=f"teach-{name}",
            )
            for name in ("download", "offer", "withdraw", "delete")
        )
    return {
        "model": model,
        "photo": photo,
        "live": live_button,
        "verdict": verdict,
        "scores": scores,
        **correcting,
        "about": about,
        "download": download,
        "offer": offer,
        "withdraw": withdraw,
        "delete": delete,
    }


def _correction_layout(context: PageContext) -> dict[str, Block]:
    """Create the form with which a visitor corrects an answer, hidden until there is one."""
    translate = context.translate
    wrong = gr.Button(
        translate("action_wrong"), size="sm", min_width=0, visible=False, elem_id="teach-wrong"
    )
    with gr.Column(visible=False, elem_id="teach-correction") as correction:
        truth = gr.Dropdown([], label=translate("feedback_truth"), elem_id="teach-truth")
        learn = gr.Button(translate("teach_correct"), size="md", elem_id="teach-learn")
    corrected = gr.HTML(elem_id="teach-corrected")
    return {
        "wrong": wrong,
        "correction": correction,
        "truth": truth,
        "learn": learn,
        "corrected": corrected,
    }


def _connect(parts: TeachTab, handlers: _Handlers, tab: gr.Tab) -> None:
    """Attach the handlers to the events of the components."""
    private: dict[str, Any] = {"api_visibility": "private"}
    free: dict[str, Any] = private | {"concurrency_limit": None, "show_progress": "hidden"}
    key_and_model = "(given, model) => [window.tensight.teach.visitor(), model]"
    chosen = [parts.visitor, parts.model]
    own = [parts.own, parts.empty, parts.model]
    tab.select(handlers.open, chosen, [parts.form, *own], js=key_and_model, **free)
    taught = parts.start.click(
        handlers.check,
        [parts.visitor, parts.draft],
        [parts.said, parts.checked],
        js="async () => [window.tensight.teach.visitor(), await window.tensight.teach.draft()]",
        **free,
    ).then(
        handlers.teach,
        [parts.visitor, parts.asked, parts.checked],
        [parts.said, parts.notes, parts.checked, parts.taught, *own],
        js="async (given, asked, checked) => [window.tensight.teach.visitor(), "
        "await window.tensight.teach.collect(checked), checked]",
        **free,
    )
    taught.then(
        None,
        [parts.checked, parts.taught],
        js=f"(state, model) => window.tensight.teach.finish(state === '{_TAUGHT}' ? model : '')",
        **private,
    )
    corrected = _connect_correction(parts, handlers, private, free)
    offered = [
        button.click(handler, chosen, None, js=key_and_model, **free)
        for button, handler in (
            (parts.offer, handlers.offer),
            (parts.withdraw, handlers.withdraw),
        )
    ]
    # A classifier that is taught again keeps its id.
    for event in (parts.model.change, *(each.then for each in (taught, corrected, *offered))):
        event(
            handlers.describe,
            [parts.visitor, parts.model, parts.taught],
            [parts.report, parts.notes, parts.about, parts.offer, parts.withdraw],
            js="(given, ...others) => [window.tensight.teach.visitor(), ...others]",
            **free,
        )
    for event in (parts.photo.change, parts.model.change, taught.then):
        event(
            handlers.classify,
            [parts.photo, parts.model],
            [
                *(parts.verdict, parts.scores),
                *(parts.wrong, parts.correction, parts.truth, parts.corrected),
            ],
            **free,
            trigger_mode="always_last",
        )
    parts.wrong.click(
        lambda: (gr.update(visible=False), gr.update(visible=True)),
        None,
        [parts.wrong, parts.correction],
        **free,
    )
    live = "window.tensight.{}(model, 'teach')"
    parts.live.click(None, parts.model, js=f"model => {live.format('toggleLive')}", **private)
    parts.model.change(None, parts.model, js=f"model => {live.format('setLiveModel')}", **private)
    parts.download.click(handlers.download, chosen, parts.file, js=key_and_model, **free).then(
        None, parts.file, js="path => window.tensight.teach.save(path)", **private
    )
    parts.delete.click(
        handlers.delete,
        chosen,
        own,
        js="(given, model) => "
        "[window.tensight.teach.visitor(), window.tensight.teach.confirmed(model)]",
        **free,
    )


def _connect_correction(
    parts: TeachTab, handlers: _Handlers, private: dict[str, Any], free: dict[str, Any]
) -> Dependency:
    """Attach the handlers with which an answer is corrected; return their event."""
    corrected: Dependency = parts.learn.click(
        handlers.correct,
        [parts.visitor, parts.photo, parts.model, parts.truth],
        [parts.corrected, parts.correction, parts.verdict, parts.scores, parts.learned],
        js="(given, ...others) => [window.tensight.teach.visitor(), ...others]",
        **free,
    )
    corrected.then(
        None,
        [parts.learned, parts.photo],
        js="(learned, photo) => window.tensight.teach.learned(learned, photo)",
        **private,
    )
    return corrected


class _Handlers:
    """Handlers of the tab's events.

    Args:
        context: Context of the page.
        teaching: Teaches the classifiers.
        teaching_limiter: Rate limiter of photos to teach.
        parts: Components of the tab.
    """

    def __init__(
        self,
        context: PageContext,
        teaching: PageTeaching,
        teaching_limiter: ClientRateLimiter,
        parts: TeachTab,
    ) -> None:
        self._context = context
        self._teaching = teaching
        self._teaching_limiter = teaching_limiter
        self._parts = parts
        self._folder = parts.photo.GRADIO_CACHE

    def open(self, visitor: str, model: str | None, request: gr.Request) -> dict[Block, Any]:
        """Show the form, and the classifiers of the visitor."""
        return {self._parts.form: form_html(language_of(request))} | self._own(visitor, model)

    def check(self, visitor: str, draft: str, request: gr.Request) -> dict[Block, Any]:
        """Check names and numbers before the photos are uploaded."""
        parts = self._parts
        # The browser sends nothing while teaching is in progress.
        if not draft:
            return {parts.checked: ""}
        try:
            self._teaching.check(visitor, TeachingDraft.parse(draft))
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            refused = _refusal(error, language_of(request))
            return {parts.checked: "", parts.said: refused}
        return {parts.checked: _CHECKED, parts.said: ""}

    async def teach(
        self,
        visitor: str,
        asked: str,
        checked: str,
        request: gr.Request,
    ) -> AsyncIterator[dict[Block, Any]]:
        """Teach a classifier with photos that the browser has uploaded, and show the progress."""
        language, parts = language_of(request), self._parts
        texts = locale.page_texts(language)
        # The browser, or the check, has shown the reason.
        if not asked or checked != _CHECKED:
            # Without an answer Gradio would clear all outputs.
            yield {parts.checked: ""}
            return
        progress = _Progress(language)
        try:
            photos = PhotosToTeach.parse(asked)
            self._teaching_limiter.check_rate(request, max(len(photos.photos), 1))
            future = await asyncio.to_thread(
                self._teaching.teach, visitor, photos, self._folder, progress.step
            )
            yield {parts.said: progress.to_html()}
            # Teaching continues if the visitor leaves: the classifier is there when they return.
            finished = asyncio.wrap_future(future)
            async for rendered in progress.until(finished):
                yield {parts.said: rendered}
            taught = await finished
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            yield {parts.said: _refusal(error, language)}
            return
        yield {
            parts.said: f"<h2>✓ {html.escape(texts['teach_done'])}</h2>",
            parts.notes: report_html(taught.report, language),
            parts.checked: _TAUGHT,
            parts.taught: taught.bundle.config.name,
            **self._own(visitor, taught.bundle.config.name),
        }

    def describe(
        self, visitor: str, model: str | None, taught: str | None, request: gr.Request
    ) -> tuple[Any, ...]:
        """Show the accuracy of the chosen classifier, and how to use it."""
        language = language_of(request)
        # Notes exist only for the classifier that was taught last.
        notes = gr.skip() if model == taught else ""
        record = self._teaching.find(visitor, model)
        if record is None:
            return "", notes, "", gr.skip(), gr.skip()
        try:
            result = self._teaching.describe(record.id)
        except TenSightError as error:
            return refusal_html(error, language), notes, "", gr.skip(), gr.skip()
        about = use_html(record, result, language)
        offers = self._teaching.publishable and not record.offered
        buttons = (gr.update(visible=shown) for shown in (offers, record.offered))
        return model_html(result, language), notes, about, *buttons

    async def classify(
        self, photo: str | None, model: str | None, request: gr.Request
    ) -> dict[Block, Any]:
        """Classify a photo with the chosen classifier."""
        language, parts, hidden = language_of(request), self._parts, gr.update(visible=False)
        shown: dict[Block, Any] = dict.fromkeys((parts.wrong, parts.correction), hidden)
        shown |= {parts.verdict: "", parts.scores: WAITING_BARS, parts.corrected: ""}
        if photo is None or not model:
            return shown
        try:
            self._context.photo_limiter.check_rate(request)
            prediction = await self._predict(photo, model, request)
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            return shown | {parts.verdict: refusal_html(error, language)}
        classes = sorted((locale.label_name(label, language), label) for label in prediction.scores)
        return shown | {
            parts.verdict: verdict_html(prediction, language),
            parts.scores: bars_html(prediction, language),
            parts.wrong: gr.update(visible=True),
            parts.truth: gr.update(choices=classes, value=None),
        }

    async def correct(
        self,
        visitor: str,
        photo: str | None,
        model: str | None,
        truth: str | None,
        request: gr.Request,
    ) -> AsyncIterator[dict[Block, Any]]:
        """Teach a classifier the photo that it got wrong, and show the improvement."""
        language, parts = language_of(request), self._parts
        texts = locale.page_texts(language)
        if not truth or not model:
            yield {parts.corrected: html.escape(texts["feedback_truth"]), parts.learned: ""}
            return
        progress = _Progress(language)
        try:
            self._teaching_limiter.check_rate(request)
            added = UploadedPhoto(label=truth, path=read_path(photo))
            future = await asyncio.to_thread(
                self._teaching.correct, visitor, model, added, self._folder, progress.step
            )
            yield {parts.corrected: progress.to_html()}
            finished = asyncio.wrap_future(future)
            async for rendered in progress.until(finished):
                yield {parts.corrected: rendered}
            correction = await finished
            prediction = await self._predict(added.path, model, request)
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            yield {parts.corrected: _refusal(error, language), parts.learned: ""}
            return
        text = texts["teach_corrected"].format(**correction.texts(language))
        yield {
            parts.corrected: f"<p>✓ {html.escape(text)}</p>",
            parts.correction: gr.update(visible=False),
            parts.verdict: verdict_html(prediction, language),
            parts.scores: bars_html(prediction, language),
            parts.learned: json.dumps({"model": model, "label": truth}),
        }

    async def _predict(self, photo: str, model: str, request: gr.Request) -> Prediction:
        context = self._context
        return await context.predictor.predict(
            read_path(photo), model=model, client=context.photo_limiter.client(request)
        )

    def download(self, visitor: str, model: str | None, request: gr.Request) -> str:
        """Write a classifier as a zip file, and return its path; empty if it no longer exists."""
        return self._run_action(
            request, lambda: _write_zip(*self._teaching.download(visitor, model or ""))
        )

    def offer(self, visitor: str, model: str | None, request: gr.Request) -> None:
        """Offer a classifier to the operator."""

        def offer() -> str:
            self._teaching.offer(visitor, model or "")
            return locale.page_texts(language_of(request))["teach_offered"]

        if text := self._run_action(request, offer):
            gr.Info(text)

    def withdraw(self, visitor: str, model: str | None, request: gr.Request) -> None:
        """Withdraw the offer of a classifier."""

        def withdraw() -> str:
            self._teaching.withdraw(visitor, model or "")
            return ""

        self._run_action(request, withdraw)

    def delete(self, visitor: str, model: str | None, request: gr.Request) -> Any:
        """Delete a classifier, if the visitor has confirmed it."""
        if not model:
            return gr.skip()

        def delete() -> str:
            self._teaching.forget(visitor, model)
            return ""

        self._run_action(request, delete)
        return self._own(visitor)

    def _run_action(self, request: gr.Request, action: Callable[[], str]) -> str:
        """Return the result of an action; if it fails, show why and return an empty string."""
        try:
            return action()
        except TenSightError as error:
            gr.Warning(locale.format_error(error, language_of(request)))
            return ""

    def _own(self, visitor: str, model: str | None = None) -> dict[Block, Any]:
        """Show the classifiers of a visitor, one of which is chosen: the newest if not given."""
        mine = self._teaching.models(visitor)
        choices = [(each.title, each.id) for each in mine]
        ids = [each.id for each in mine]
        chosen = model if model in ids else next(iter(ids), None)
        return {
            self._parts.own: gr.update(visible=bool(mine)),
            self._parts.empty: gr.update(visible=not mine),
            self._parts.model: gr.update(choices=choices, value=chosen),
        }


class _Progress:
    """Progress of teaching, as HTML.

    Args:
        language: Language of the texts.
    """

    def __init__(self, language: locale.Language) -> None:
        self._texts = locale.page_texts(language)
        self._done, self._total = 0, 0

    def step(self, done: int, total: int) -> None:
        """Note that a photo was read; called by another thread."""
        self._done, self._total = done, total

    async def until(self, finished: asyncio.Future[Any]) -> AsyncIterator[str]:
        """Yield the progress whenever it has changed, until a future is done."""
        shown = ""
        while not finished.done():
            await asyncio.wait({finished}, timeout=_STEP_S)
            if (rendered := self.to_html()) != shown:
                yield rendered
            shown = rendered

    def to_html(self) -> str:
        """Render the current step and its progress."""
        if not self._total:
            return progress_html(self._texts["teach_waiting"], None)
        if self._done == self._total:
            return progress_html(self._texts["teach_learning"], None)
        text = self._texts["teach_reading"].format(n=self._done, all=self._total)
        return progress_html(text, self._done / self._total)


def _refusal(error: Exception, language: locale.Language) -> str:
    texts = locale.page_texts(language)
    match error:
        case TeachingError():
            return refusal_of(error, language)
        case PageFullError():
            told = texts["teach_full"]
        case RateError():
            told = texts["teach_rate"].format(minutes=math.ceil(error.retry_after / 60))
        case _:
            return refusal_html(error, language)
    return f'<p class="refusal">⚠ {html.escape(told)}</p>'


def _write_zip(name: str, content: bytes) -> str:
    folder = Path(tempfile.mkdtemp(prefix="taught-", dir=os.environ.get("GRADIO_TEMP_DIR")))
    file = folder / f"{name}.zip"
    file.write_bytes(content)
    return str(file)
