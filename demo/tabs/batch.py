"""The tab Batch: classification of many photos, a folder or a zip file."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import gradio as gr
from gradio.data_classes import ListFiles

from core import locale
from core.errors import TenSightError
from demo.classify_many import MAX_PHOTOS, ZipError, list_photos, preview_many
from demo.components import text_html, uploaded
from demo.context import PageContext, language_of, refusal_html
from demo.model_choice import chosen, default_choices
from demo.tabs.batch_results import BatchResults

__all__ = ["build"]


def build(context: PageContext, tab: gr.Tab) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        tab: The tab, whose opening fills the model selector.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    translate = context.translate
    intro = gr.HTML(elem_id="batch-intro")
    with gr.Row():
        with gr.Column(scale=1, min_width=340):
            # Invisible until the tab is opened, since Gradio loads the scripts of all visible
            # components. An update of the upload itself would replace it, with its `preprocess`.
            with gr.Column(visible=False) as upload:
                files = _files_input(translate("batch_photos"))
            folder = gr.HTML(elem_id="batch-folder-choice")
            choices, default = default_choices(context.predictor)
            model = gr.Dropdown(
                choices,
                value=default,
                label=translate("model"),
                filterable=False,
                elem_id="batch-model",
            )
            start = gr.Button(translate("batch_start"), variant="primary", elem_id="batch-start")
        with gr.Column(scale=2, min_width=300):
            said = gr.HTML(elem_id="batch-said")
            with gr.Row(elem_id="batch-files"):
                csv_file = gr.DownloadButton("CSV", visible=False, elem_id="batch-csv")
                json_file = gr.DownloadButton("JSON", visible=False, elem_id="batch-json")
            shown = gr.HTML(elem_id="batch-results")
            text_html(translate("batch_waits"), elem_id="batch-waits")

    async def classify(
        paths: list[str],
        model: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio injects it by its default
    ) -> tuple[Any, ...]:
        return await _classify(context, paths, model, request, progress)

    def show_choices(request: gr.Request) -> tuple[Any, ...]:
        texts = locale.page_texts(language_of(request))
        shown = (
            texts["batch_intro"].format(most=MAX_PHOTOS),
            _folder_html(texts["batch_folder"]),
            gr.update(visible=True),
        )
        try:
            there, value = chosen(context, request)
        except TenSightError:
            return *shown, gr.update()
        return *shown, gr.update(choices=there, value=value)

    private: dict[str, Any] = {"api_visibility": "private"}
    tab.select(
        show_choices,
        None,
        [intro, folder, upload, model],
        **private,
        concurrency_limit=None,
        show_progress="hidden",
    )
    start.click(
        classify,
        [files, model],
        [said, shown, csv_file, json_file],
        **private,
        concurrency_limit=4,
    )


def _files_input(label: Any) -> gr.File:
    """Create the upload of many files; handlers receive their paths, as `uploaded` returns them."""
    files = gr.File(file_count="multiple", label=label, elem_id="batch-photos", height=220)

    def paths(payload: ListFiles | None) -> list[str]:
        return [uploaded(each.path, files.GRADIO_CACHE) for each in payload or []]

    # Gradio's own preprocessing leaves an empty file for each upload until the server ends.
    files.preprocess = paths  # type: ignore[assignment,method-assign]
    return files


def _folder_html(name: str) -> str:
    """Render a button that lets the visitor choose a folder; page.js hands its files on."""
    return (
        f'<label class="folder">{name}'
        '<input type="file" id="batch-folder" webkitdirectory multiple></label>'
    )


async def _classify(
    context: PageContext,
    paths: list[str],
    model: str,
    request: gr.Request,
    progress: gr.Progress,
) -> tuple[Any, ...]:
    """Classify uploads, and return the sentence, the results and updates of the two files."""
    language, hidden = language_of(request), gr.update(visible=False)
    texts = locale.page_texts(language)

    def refuse(text: str) -> tuple[Any, ...]:
        return text, "", hidden, hidden

    try:
        photos = await asyncio.to_thread(list_photos, paths)
    except ZipError as error:
        return refuse(_warning(texts["batch_zip"].format(name=error.name)))
    if not photos:
        return refuse(_warning(texts["batch_none"]))
    if len(photos) > MAX_PHOTOS:
        return refuse(_warning(texts["batch_many"].format(n=len(photos), most=MAX_PHOTOS)))

    def step(done: int) -> None:
        progress((done, len(photos)), unit=texts["batch_progress"])

    step(0)
    try:
        context.photo_limiter.check_rate(request, len(photos))
        client = context.photo_limiter.client(request)
        answers = await preview_many(context, photos, model, client, step)
        results = BatchResults(photos, answers, language)
        rendered, written = await asyncio.to_thread(
            lambda: (results.to_html(), results.write_files())
        )
    except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
        return refuse(refusal_html(error, language))
    done = texts["batch_done"].format(n=len(results.predictions), all=len(photos))
    updates = [gr.update(value=str(path), visible=True) for path in written]
    return f"<h2>{done}</h2>", rendered, *updates


def _warning(text: str) -> str:
    return f'<p class="refusal">⚠ {html.escape(text)}</p>'
