"""Exploratory data analysis: shapes, class counts, pixel statistics and example images."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.training.data.datasets import Dataset, Split, hold_out
from core.training.data.real_photos import KEPT_BACK_KINDS, RealPhotos

__all__ = ["Table", "explore"]

Table = tuple[str, list[str], list[list[str]]]
"""Title, header and rows of a table."""

_EXAMPLES = 12
_MAX_KINDS = 40
_SCALE = 2


def explore(
    dataset: Dataset, folder: Path, photos: Mapping[str, RealPhotos] | None = None
) -> tuple[list[Table], Path]:
    """Describe a data set, and write the description with example images as an HTML page.

    Args:
        dataset: Data set to describe.
        folder: Folder for index.html; created if needed. The page contains images of the data set,
            so the folder should be outside any repository.
        photos: Real photos by name of their part.

    Returns:
        Tables, and the path of the page.
    """
    train_rows, validation = hold_out(dataset.train)
    parts = {
        "train": dataset.train,
        "train, learning rows": train_rows,
        "train, validation rows": validation,
        "test": dataset.test,
    }
    tables = [_shape_table(parts), _class_table(dataset.labels, parts), _pixel_table(parts)]
    if photos:
        tables += _real_photos(dataset.labels, photos)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(_page(dataset, tables), "utf-8")
    return tables, page


def _shape_table(parts: dict[str, Split]) -> Table:
    rows = [
        [
            name,
            " × ".join(map(str, part.images.shape)),
            str(part.images.dtype),
            str(len(part.labels)),
        ]
        for name, part in parts.items()
    ]
    return "Shapes (images × height × width × channels)", ["part", "images", "type", "labels"], rows


def _class_table(labels: tuple[str, ...], parts: dict[str, Split]) -> Table:
    counts = [np.bincount(part.labels, minlength=len(labels)) for part in parts.values()]
    rows = [[label, *(str(count[i]) for count in counts)] for i, label in enumerate(labels)]
    return "Images of each class", ["class", *parts], rows


def _pixel_table(parts: dict[str, Split]) -> Table:
    rows = []
    for name, part in parts.items():
        for i, channel in enumerate(("red", "green", "blue")):
            values = part.images[..., i]
            rows.append(
                [
                    name,
                    channel,
                    str(values.min()),
                    str(values.max()),
                    f"{values.mean() / 255:.4f}",
                    f"{values.std() / 255:.4f}",
                ]
            )
    header = ["part", "channel", "minimum", "maximum", "mean / 255", "std / 255"]
    return "Pixel values", header, rows


def _real_photos(labels: tuple[str, ...], parts: Mapping[str, RealPhotos]) -> list[Table]:
    """Count real photos by class, source and kind, and summarise their sizes."""
    names = list(parts)
    classes = dict(enumerate((*labels, "none")))
    sizes = []
    for name, part in parts.items():
        sides = np.asarray([image.shape[:2] for image in part.images])
        for side, values in (("shorter", sides.min(axis=1)), ("longer", sides.max(axis=1))):
            quantiles = np.quantile(values, [0, 0.5, 1]).astype(int)
            sizes.append([name, side, *map(str, quantiles)])
    by_source = {name: part.sources for name, part in parts.items()}
    kinds = {name: part.kinds[~part.known] for name, part in parts.items()}
    header = ["part", "side", "minimum", "median", "maximum"]
    none_title = "Real photos of none of the classes, by kind (*: held out for evaluation)"
    starred = [
        [f"{row[0]} *" if row[0] in KEPT_BACK_KINDS else row[0], *row[1:]]
        for row in _count_words(kinds)[:_MAX_KINDS]
    ]
    counts = {
        name: np.bincount(part.labels, minlength=len(classes)) for name, part in parts.items()
    }
    by_class = [
        [label, *(str(count[i]) for count in counts.values())] for i, label in classes.items()
    ]
    return [
        ("Real photos of each class", ["class", *names], by_class),
        ("Real photos by source", ["source", *names], _count_words(by_source)),
        (none_title, ["kind", *names], starred),
        ("Sides of the real photos in pixels", header, sizes),
    ]


def _count_words(parts: Mapping[str, NDArray[np.str_]]) -> list[list[str]]:
    """Count each word in each part, most frequent first."""
    counts = {name: Counter(words.tolist()) for name, words in parts.items()}
    total = sum(counts.values(), Counter())
    return [
        [word, *(str(count[word]) for count in counts.values())] for word, _ in total.most_common()
    ]


def _page(dataset: Dataset, tables: list[Table]) -> str:
    sections = []
    for title, header, rows in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        sections.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    pictures = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{_strip(dataset.train, i, label)}</td></tr>"
        for i, label in enumerate(dataset.labels)
    )
    sections.append(f"<h2>First {_EXAMPLES} images of each class</h2><table>{pictures}</table>")
    name = html.escape(dataset.name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>'
        "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
        "table{border-collapse:collapse}th,td{padding:.2rem .7rem;text-align:left}"
        "tr:nth-child(even){background:#f3f3f3}img{display:block;image-rendering:pixelated}"
        f"</style><h1>{name}</h1>{''.join(sections)}</html>\n"
    )


def _strip(split: Split, label: int, name: str) -> str:
    """Render the first images of a class side by side as an HTML image with embedded data."""
    images = split.images[np.flatnonzero(split.labels == label)[:_EXAMPLES]]
    strip = Image.fromarray(np.concatenate(list(images), axis=1))
    buffer = BytesIO()
    strip.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    width, height = strip.width * _SCALE, strip.height * _SCALE
    alternative = f"{len(images)} images of the class {html.escape(name)}"
    return (
        f'<img alt="{alternative}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}">'
    )
