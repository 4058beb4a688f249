"""The tab Teach: a visitor teaches a classifier of their own, and tries it."""

from __future__ import annotations

import asyncio
import html
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from core import locale
from core.errors import TeachingError, TenSightError
from core.photos.decode import MAX_BYTES
from core.teaching.limits import MAX_CLASSES, MAX_NAME, MIN_PHOTOS
from demo.components import photo_input, read_path, text_html
from demo.context import ClientRateLimiter, PageContext, language_of, refusal_html
from demo.tabs.answer import WAITING_SCORES, scores_html, verdict_html
from demo.tabs.teach_report import format_teaching_error, model_html, report_html
from demo.teaching import LIFETIME_S, PageFullError, PageTeaching, PhotosToTeach

__all__ = ["TeachTab", "build"]

# Photos that one client may teach in an hour, apart from the photos a minute.
_PHOTOS_PER_HOUR = 5_000
_HOUR_S = 3600.0
# Learning takes a processor for seconds.
_AT_ONCE = 2


@dataclass(frozen=True)
class TeachTab:
    """Components of the tab.

    `visitor` and `asked` carry what the browser alone knows: the visitor's key, and the photos.
    `taught` holds the id of the classifier that was taught last, and `file` the path of a download.
    """

    visitor: gr.HTML
    asked: gr.HTML
    taught: gr.HTML
    cards: gr.HTML
    start: gr.Button
    said: gr.HTML
    report: gr.HTML
    notes: gr.HTML
    own: gr.Column
    model: gr.Dropdown
    link: gr.HTML
    download: gr.Button
    offer: gr.Button
    delete: gr.Button
    file: gr.HTML
    photo: gr.Image
    verdict: gr.HTML
    scores: gr.HTML


def build(
    context: PageContext,
    teaching: PageTeaching,
    tab: gr.Tab,
    teachers: ClientRateLimiter | None = None,
) -> TeachTab:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        teaching: Teaches the classifiers.
        tab: The tab, whose opening fills it.
        teachers: Rate limiter of photos to teach; None for 5,000 an hour.

    Returns:
        The components of the tab.
    """
    parts = _layout(context)
    limiter = teachers or ClientRateLimiter(_PHOTOS_PER_HOUR, window_s=_HOUR_S)
    _connect(parts, _Handlers(context, teaching, limiter, parts), tab)
    return parts


def _layout(context: PageContext) -> TeachTab:
    """Create the components, in the order of a narrow screen."""
    words = context.words
    parts: dict[str, Any] = {}
    for name in ("visitor", "asked", "taught", "file"):
        parts[name] = gr.HTML(visible=False)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            # The cards of the classes are filled by teach.js.
            parts["cards"] = gr.HTML(elem_id="teach-view")
            parts["start"] = gr.Button(
                words("teach_start"), variant="primary", elem_id="teach-start"
            )
            parts["said"] = gr.HTML(elem_id="teach-said")
            parts["report"] = gr.HTML(elem_id="teach-report")
            parts["notes"] = gr.HTML(elem_id="teach-notes")
        # Invisible until there is a classifier, since Gradio loads the scripts of all visible
        # components.
        with gr.Column(scale=2, min_width=300, visible=False, elem_id="teach-own") as own:
            parts["own"] = own
            parts["model"] = gr.Dropdown(
                [], label=words("teach_mine"), filterable=False, elem_id="teach-model"
            )
            parts["link"] = gr.HTML(elem_id="teach-link")
            text_html(words("teach_try"), "h3")
            parts["photo"] = photo_input(words("photo"), "teach-photo")
            parts["verdict"] = gr.HTML(elem_id="teach-verdict")
            parts["scores"] = gr.HTML(elem_id="teach-scores")
            with gr.Row(elem_id="teach-actions"):
                for name in ("download", "offer", "delete"):
                    parts[name] = gr.Button(
                        words(f"teach_{name}"), size="sm", min_width=0, elem_id=f"teach-{name}"
                    )
    return TeachTab(**parts)


def _connect(parts: TeachTab, handlers: _Handlers, tab: gr.Tab) -> None:
    """Attach the handlers to the events of the components."""
    private: dict[str, Any] = {"api_visibility": "private"}
    free: dict[str, Any] = private | {"concurrency_limit": None, "show_progress": "hidden"}
    key = "given => [window.tensight.teach.visitor()]"
    key_and_model = "(given, model) => [window.tensight.teach.visitor(), model]"
    chosen = [parts.visitor, parts.model]
    own = [parts.own, parts.model]
    tab.select(handlers.open, parts.visitor, [parts.cards, *own], js=key, **free)
    parts.start.click(
        handlers.teach,
        [parts.visitor, parts.asked],
        [parts.said, parts.notes, parts.taught, *own],
        js="async () => [window.tensight.teach.visitor(), await window.tensight.teach.collect()]",
        **private,
        concurrency_limit=_AT_ONCE,
    ).then(None, parts.taught, js="model => window.tensight.teach.taught(model)", **private)
    parts.model.change(
        handlers.describe,
        [parts.model, parts.taught],
        [parts.report, parts.notes, parts.link],
        **free,
    )
    gr.on(
        [parts.photo.change, parts.model.change],
        handlers.classify,
        [parts.photo, parts.model],
        [parts.verdict, parts.scores],
        **free,
        trigger_mode="always_last",
    )
    parts.download.click(handlers.download, chosen, parts.file, js=key_and_model, **free).then(
        None, parts.file, js="path => window.tensight.teach.save(path)", **private
    )
    parts.offer.click(handlers.offer, chosen, None, js=key_and_model, **free)
    parts.delete.click(handlers.delete, chosen, own, js=key_and_model, **free)


class _Handlers:
    """Handlers of the tab's events.

    Args:
        context: Context of the page.
        teaching: Teaches the classifiers.
        teachers: Rate limiter of photos to teach.
        parts: Components of the tab.
    """

    def __init__(
        self,
        context: PageContext,
        teaching: PageTeaching,
        teachers: ClientRateLimiter,
        parts: TeachTab,
    ) -> None:
        self._context = context
        self._teaching = teaching
        self._teachers = teachers
        self._parts = parts
        self._folder = parts.photo.GRADIO_CACHE

    def open(self, visitor: str, request: gr.Request) -> dict[Block, Any]:
        """Show the form, and the classifiers of the visitor."""
        return {self._parts.cards: _cards_html(language_of(request))} | self._own(visitor)

    async def teach(
        self,
        visitor: str,
        asked: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio injects it by its default
    ) -> Any:
        """Teach a classifier with photos that the browser has uploaded."""
        language, parts = language_of(request), self._parts
        here = locale.page_texts(language)
        if not asked:
            return gr.skip()  # the browser has said why

        def step(done: int, total: int) -> None:
            progress((done, total), unit=here["batch_progress"])

        try:
            photos = PhotosToTeach.parse(asked)
            self._teachers.check_rate(request, max(len(photos.photos), 1))
            taught = await asyncio.to_thread(
                self._teaching.teach, visitor, photos, self._folder, step
            )
        except Exception as error:  # noqa: BLE001  # the edge of the process: a visitor reads words
            return {parts.said: _refusal(error, language)}
        return {
            parts.said: f"<p>{html.escape(here['teach_done'])}</p>",
            parts.notes: report_html(taught.report, language),
            parts.taught: taught.bundle.config.name,
            **self._own(visitor, taught.bundle.config.name),
        }

    def describe(
        self, model: str | None, taught: str | None, request: gr.Request
    ) -> tuple[Any, Any, str]:
        """Say how good the chosen classifier is, and link to it."""
        language = language_of(request)
        # The notes are known of the classifier that was taught last alone.
        notes = gr.skip() if model == taught else ""
        if not model:
            return "", notes, ""
        try:
            shown = model_html(self._teaching.describe(model), language)
        except TenSightError as error:
            return refusal_html(error, language), notes, ""
        link = html.escape(locale.page_texts(language)["teach_link"])
        address = f"?model={html.escape(model)}"
        return shown, notes, f'<a href="{address}" target="_blank">{link}</a>'

    async def classify(
        self, photo: str | None, model: str | None, request: gr.Request
    ) -> tuple[str, str]:
        """Classify a photo with the chosen classifier."""
        language, context = language_of(request), self._context
        if photo is None or not model:
            return locale.page_texts(language)["verdict_waits"], WAITING_SCORES
        try:
            context.visitors.check_rate(request)
            prediction = await context.predictor.predict(
                read_path(photo), model=model, client=context.visitors.client(request)
            )
            result = await asyncio.to_thread(context.predictor.model, model)
        except Exception as error:  # noqa: BLE001  # the edge of the process: a visitor reads words
            return refusal_html(error, language), WAITING_SCORES
        return verdict_html(prediction, language), scores_html(prediction, result, language)

    def download(self, visitor: str, model: str | None, request: gr.Request) -> str:
        """Write a classifier as a zip file, and return its path; empty where it is gone."""
        return self._act(
            request, lambda: _write_zip(*self._teaching.download(visitor, model or ""))
        )

    def offer(self, visitor: str, model: str | None, request: gr.Request) -> None:
        """Offer a classifier to the operator."""

        def offer() -> str:
            self._teaching.offer(visitor, model or "")
            return locale.page_texts(language_of(request))["teach_offered"]

        if told := self._act(request, offer):
            gr.Info(told)

    def delete(self, visitor: str, model: str | None, request: gr.Request) -> dict[Block, Any]:
        """Delete a classifier."""

        def delete() -> str:
            self._teaching.forget(visitor, model or "")
            return ""

        self._act(request, delete)
        return self._own(visitor)

    def _act(self, request: gr.Request, act: Callable[[], str]) -> str:
        """Return the result of an action; where it fails, say why and return an empty string."""
        try:
            return act()
        except TenSightError as error:
            gr.Warning(locale.format_error(error, language_of(request)))
            return ""

    def _own(self, visitor: str, model: str | None = None) -> dict[Block, Any]:
        """Show the classifiers of a visitor, one of which is chosen: the newest if not given."""
        mine = self._teaching.models(visitor)
        choices = [(each.title, each.id) for each in mine]
        chosen = model or (mine[0].id if mine else None)
        return {
            self._parts.own: gr.update(visible=bool(mine)),
            self._parts.model: gr.update(choices=choices, value=chosen),
        }


def _refusal(error: Exception, language: locale.Language) -> str:
    if isinstance(error, TeachingError):
        told = format_teaching_error(error, language)
    elif isinstance(error, PageFullError):
        told = locale.page_texts(language)["teach_full"]
    else:
        return refusal_html(error, language)
    return f'<p class="refusal">⚠ {html.escape(told)}</p>'


def _write_zip(name: str, content: bytes) -> str:
    folder = Path(tempfile.mkdtemp(prefix="taught-", dir=os.environ.get("GRADIO_TEMP_DIR")))
    file = folder / f"{name}.zip"
    file.write_bytes(content)
    return str(file)


def _cards_html(language: locale.Language) -> str:
    """Render the form, whose cards and texts teach.js uses."""
    here = {key: html.escape(text) for key, text in locale.page_texts(language).items()}
    intro = here["teach_intro"].format(least=MIN_PHOTOS, hours=round(LIFETIME_S / 3600))
    data = "".join(
        f' data-{name.replace("_", "-")}="{here[key]}"'
        for name, key in {
            "count": "teach_count",
            "remove": "teach_remove",
            "too_large": "teach_too_large",
            "uploading": "teach_uploading",
            "failed": "teach_failed",
            "denied": "live_denied",
        }.items()
    )
    return (
        f"<p>{intro}</p>"
        f'<label class="teach-field">{here["teach_title"]}'
        f'<input id="teach-title" maxlength="{MAX_NAME}" value="{here["teach_untitled"]}"></label>'
        f'<div id="teach-cards" data-max-bytes="{MAX_BYTES}" data-max-classes="{MAX_CLASSES}"'
        f"{data}></div>"
        '<template id="teach-card"><section class="card">'
        f'<label class="teach-field">{here["teach_class"]}'
        f'<input class="teach-name" maxlength="{MAX_NAME}"></label>'
        f'<label class="folder">{here["teach_add_photos"]}'
        '<input type="file" class="teach-files" accept="image/*,.heic,.heif" multiple></label>'
        f'<button type="button" class="teach-camera">{here["teach_camera"]}</button>'
        '<p class="small" role="status"></p><ul class="teach-photos"></ul>'
        f'<button type="button" class="teach-drop">{here["teach_drop"]}</button>'
        "</section></template>"
        f'<button type="button" id="teach-add">{here["teach_add"]}</button>'
        '<p id="teach-notice" role="status"></p>'
    )
