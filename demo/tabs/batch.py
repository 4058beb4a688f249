"""The tab Batch: classification of many photos, with a table and CSV and JSON downloads."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.data_classes import ListFiles
from PIL import Image

from core import locale
from core.bundle.leaderboard import selectable
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.serving.ask import retry_while_busy
from core.serving.predictor import PreviewedPrediction
from demo.components import choice, chosen, data_url, read_path, table, uploaded
from demo.context import PageContext, error_of, language_of, refusal

__all__ = ["MAX_PHOTOS", "answers", "as_csv", "build"]

MAX_PHOTOS = 100
"""Maximum number of photos in a batch."""

_THUMBNAIL = 56


def build(context: PageContext, page: gr.Blocks) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        page: The page, whose load event fills the model selector.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    words = context.words
    gr.Markdown(words("batch_intro"))
    with gr.Row():
        with gr.Column(scale=1):
            files = gr.File(
                file_count="multiple",
                label=words("batch_photos"),
                elem_id="batch-photos",
                height=220,
            )

            def paths(payload: ListFiles | None) -> list[str]:
                return [uploaded(each.path, files.GRADIO_CACHE) for each in payload or []]

            # Gradio's own preprocessing leaves an empty file for each upload until the server ends.
            files.preprocess = paths  # type: ignore[assignment,method-assign]
            default = context.predictor.default_model()
            model = gr.Dropdown(
                [
                    choice(result, "en")
                    for result in selectable(context.predictor.models(), default)
                ],
                value=default,
                label=words("model"),
                elem_id="batch-model",
            )
            start = gr.Button(words("batch_start"), variant="primary", elem_id="batch-start")
        with gr.Column(scale=2):
            said = gr.Markdown(elem_id="batch-said")
            shown = gr.HTML(elem_id="batch-table")
            with gr.Row():
                csv_file = gr.DownloadButton("CSV", visible=False, elem_id="batch-csv")
                json_file = gr.DownloadButton("JSON", visible=False, elem_id="batch-json")

    async def classify(
        photos: list[str],
        model: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio injects it by its default
    ) -> tuple[Any, ...]:
        language = language_of(request)
        here, hidden = locale.page_texts(language), gr.update(visible=False)
        if not photos or len(photos) > MAX_PHOTOS:
            told = here["batch_many"] if photos else here["batch_none"]
            return f"### ⚠ {told.format(n=len(photos), most=MAX_PHOTOS)}", "", hidden, hidden
        progress((0, len(photos)), unit=here["batch_progress"])

        def step(done: int) -> None:
            progress((done, len(photos)), unit=here["batch_progress"])

        try:
            context.visitors.check_rate(request, len(photos))
            given = await _previews(context, photos, model, context.visitors.client(request), step)
            rows, table, files_made = await asyncio.to_thread(_write, photos, given, language)
        except Exception as error:  # noqa: BLE001  # the edge of the process: a visitor reads words
            return refusal(error, language), "", hidden, hidden
        answered = sum("error" not in row for row in rows)
        done = here["batch_done"].format(n=answered, all=len(rows))
        updates = [gr.update(value=str(path), visible=True) for path in files_made]
        return f"### {done}", table, *updates

    def choices(request: gr.Request) -> dict[str, Any]:
        try:
            there, value = chosen(context, request)
        except TenSightError:
            return gr.update()
        return gr.update(choices=there, value=value)

    private: dict[str, Any] = {"api_visibility": "private"}
    page.load(choices, None, model, **private, concurrency_limit=None, show_progress="hidden")
    start.click(
        classify,
        [files, model],
        [said, shown, csv_file, json_file],
        **private,
        concurrency_limit=4,
    )


_Answer = TypeVar("_Answer")


async def answers(
    context: PageContext, photos: Sequence[str], model: str | None, client: str
) -> list[Prediction | Exception]:
    """Classify photos, retrying each while the predictor is busy.

    Args:
        context: Context of the page.
        photos: Paths of uploads, outputs of `uploaded`.
        model: Name of the model; None for the default model.
        client: Key of the client that sent them.

    Returns:
        Prediction or error of each photo, in the order of `photos`.
    """

    async def ask(photo: str) -> Prediction:
        return await context.predictor.predict(read_path(photo), model=model, client=client)

    return await _each(context, photos, ask, lambda _: None)


async def _previews(
    context: PageContext,
    photos: Sequence[str],
    model: str,
    client: str,
    step: Callable[[int], None],
) -> list[PreviewedPrediction | Exception]:
    """Classify photos as `answers` does, each with a thumbnail; `step` gets the number done."""

    async def ask(photo: str) -> PreviewedPrediction:
        return await context.predictor.predict_with_preview(
            read_path(photo), model=model, side=_THUMBNAIL, client=client
        )

    return await _each(context, photos, ask, step)


async def _each(
    context: PageContext,
    photos: Sequence[str],
    ask: Callable[[str], Awaitable[_Answer]],
    step: Callable[[int], None],
) -> list[_Answer | Exception]:
    done = 0

    async def one(photo: str) -> _Answer | Exception:
        nonlocal done
        async with context.batches:
            try:
                return await retry_while_busy(lambda: ask(photo))
            except Exception as error:  # noqa: BLE001  # reported in the photo's row
                return error
            finally:
                done += 1
                step(done)

    return list(await asyncio.gather(*map(one, photos)))


def _write(
    paths: Sequence[str],
    given: Sequence[PreviewedPrediction | Exception],
    language: locale.Language,
) -> tuple[list[dict[str, Any]], str, list[Path]]:
    """Format the answers as JSON rows and an HTML table, and write the CSV and JSON files."""
    said = [e.prediction if isinstance(e, PreviewedPrediction) else e for e in given]
    rows = [_row(path, answer, language) for path, answer in zip(paths, said, strict=True)]
    lines = [_line(row, answer, language) for row, answer in zip(rows, given, strict=True)]
    folder = Path(tempfile.mkdtemp(prefix="batch-", dir=os.environ.get("GRADIO_TEMP_DIR")))
    csv_file, json_file = folder / "tensight.csv", folder / "tensight.json"
    csv_file.write_text(as_csv(rows), "utf-8")
    json_file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return rows, _table(lines, said, language), [csv_file, json_file]


def _row(path: str, answer: Prediction | Exception, language: locale.Language) -> dict[str, Any]:
    name = Path(path).name
    if isinstance(answer, Exception):
        code, message = error_of(answer, language)
        return {"photo": name, "error": {"code": code, "message": message}}
    return answer.to_dict() | {"photo": name}


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Format rows as CSV: one line for each photo, with a column for each label.

    Args:
        rows: Rows with the keys of `Prediction.to_dict`, or with `photo` and `error`.
    """
    labels = sorted({label for row in rows for label in row.get("scores", {})})
    plain = ["photo", "model", "revision", "label", "confidence", "verdict", "known_score"]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*plain, "error", *map(_cell, labels)])
    for row in rows:
        scores = row.get("scores", {})
        values = [row.get(name, "") for name in plain]
        error = row.get("error", {}).get("code", "")
        writer.writerow(map(_cell, [*values, error, *(scores.get(label, "") for label in labels)]))
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Quote text that a spreadsheet would run as a formula, since file names are untrusted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _line(
    row: dict[str, Any], answer: PreviewedPrediction | Exception, language: locale.Language
) -> str:
    """Render the HTML table row of a photo."""
    name = html.escape(row["photo"])
    if isinstance(answer, Exception):
        why = html.escape(row["error"]["message"])
        return f'<tr class="bad"><td></td><th scope="row">{name}</th><td>⚠ {why}</td></tr>'
    says = html.escape(locale.format_verdict(answer.prediction, language))
    picture = f'<img src="{data_url(Image.fromarray(answer.preview), "JPEG")}" alt="">'
    return f'<tr><td>{picture}</td><th scope="row">{name}</th><td>{says}</td></tr>'


def _table(
    lines: Sequence[str], given: Sequence[Prediction | Exception], language: locale.Language
) -> str:
    here = locale.page_texts(language)
    head = "".join(
        f'<th scope="col">{each}</th>'
        for each in (here["photo"], here["batch_file"], here["batch_answer"])
    )
    counts = Counter(_found(each, language) for each in given if isinstance(each, Prediction))
    rows = [[found, str(n)] for found, n in counts.most_common()]
    counted = table([here["batch_class"], here["batch_count"]], rows, here["batch_counts"])
    name = here["batch_photos"]
    return (
        f'{counted}<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _found(answer: Prediction, language: locale.Language) -> str:
    if answer.verdict == "known":
        return locale.label_name(answer.label, language)
    return locale.page_texts(language)[f"verdict_{answer.verdict}"]
