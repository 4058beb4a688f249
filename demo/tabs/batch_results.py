"""The results of a batch: a gallery with filters, counts by class, and files."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from core import locale
from core.inference.prediction import Prediction
from core.serving.predictor import PreviewedPrediction
from demo.classify_many import BatchPhoto
from demo.components import count_bars, data_url
from demo.context import error_of

__all__ = ["BatchResults", "as_csv"]

# Filters of the gallery: verdicts, and photos without a prediction.
_FILTERS = {
    "known": "batch_known",
    "unsure": "batch_unsure",
    "none": "batch_unknown",
    "failed": "batch_failed",
}


@dataclass(frozen=True)
class BatchResults:
    """Photos of a batch, and the prediction or error of each."""

    photos: Sequence[BatchPhoto]
    answers: Sequence[PreviewedPrediction | Exception]
    language: locale.Language

    @property
    def predictions(self) -> list[Prediction]:
        """Predictions of the photos that have one."""
        return [each.prediction for each in self.answers if isinstance(each, PreviewedPrediction)]

    def write_files(self) -> tuple[Path, Path]:
        """Write the results as CSV and as JSON, and return the paths."""
        rows = [self._row(*each) for each in zip(self.photos, self.answers, strict=True)]
        folder = Path(tempfile.mkdtemp(prefix="batch-", dir=os.environ.get("GRADIO_TEMP_DIR")))
        csv_file, json_file = folder / "tensight.csv", folder / "tensight.json"
        csv_file.write_text(as_csv(rows), "utf-8")
        json_file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return csv_file, json_file

    def _row(self, photo: BatchPhoto, answer: PreviewedPrediction | Exception) -> dict[str, Any]:
        if isinstance(answer, Exception):
            code, message = error_of(answer, self.language)
            return {"photo": photo.name, "error": {"code": code, "message": message}}
        return answer.prediction.to_dict() | {"photo": photo.name}

    def to_html(self) -> str:
        """Render the counts by class, the filters and the gallery."""
        texts = locale.page_texts(self.language)
        kinds = Counter(map(_kind, self.answers))
        filters = [("all", texts["batch_all"], len(self.answers))]
        filters += [
            (kind, texts[key], kinds[kind]) for kind, key in _FILTERS.items() if kinds[kind]
        ]
        buttons = "".join(
            f'<button type="button" data-show="{kind}" aria-pressed="{str(kind == "all").lower()}">'
            f"{html.escape(name)} <b>{n}</b></button>"
            for kind, name, n in filters
        )
        cards = "".join(
            self._card(photo, answer)
            for photo, answer in zip(self.photos, self.answers, strict=True)
        )
        show, results = html.escape(texts["batch_show"]), html.escape(texts["batch_results"])
        return (
            f'{self._counts()}<div class="results" data-shown="all">'
            f'<div class="filters" role="group" aria-label="{show}">{buttons}</div>'
            f'<ul class="gallery" aria-label="{results}">{cards}</ul></div>'
        )

    def _counts(self) -> str:
        """Draw how many photos show each class."""
        texts = locale.page_texts(self.language)
        counts = Counter(self._found(each) for each in self.predictions)
        if not counts:
            return ""
        most = max(counts.values())
        rows = [(found, str(n), n / most) for found, n in counts.most_common()]
        title = texts["batch_counts"]
        return (
            f'<section id="batch-counts"><h3>{html.escape(title)}</h3>'
            f"{count_bars(rows, title)}</section>"
        )

    def _found(self, prediction: Prediction) -> str:
        if prediction.verdict == "known":
            return locale.label_name(prediction.label, self.language)
        return locale.page_texts(self.language)[f"verdict_{prediction.verdict}"]

    def _card(self, photo: BatchPhoto, answer: PreviewedPrediction | Exception) -> str:
        texts, kind, name = locale.page_texts(self.language), _kind(answer), html.escape(photo.name)
        if isinstance(answer, Exception):
            picture, says = '<div class="no-picture">⚠</div>', error_of(answer, self.language)[1]
        else:
            thumbnail = data_url(Image.fromarray(answer.preview), "JPEG", quality=70)
            picture = f'<img src="{thumbnail}" alt="" loading="lazy">'
            says = locale.format_verdict(answer.prediction, self.language)
        return (
            f'<li data-kind="{kind}">{picture}'
            f'<span class="badge {kind}">{html.escape(texts[_FILTERS[kind]])}</span>'
            f'<span class="says">{html.escape(says)}</span><span class="file">{name}</span></li>'
        )


def _kind(answer: PreviewedPrediction | Exception) -> str:
    return "failed" if isinstance(answer, Exception) else answer.prediction.verdict


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
