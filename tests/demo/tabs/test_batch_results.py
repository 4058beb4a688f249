"""Results of many photos, as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from core.registry.catalog import Catalog
from demo.tabs.batch_results import as_csv


def test_csv_cells_that_look_like_formulas_are_text(tmp_path: Path, catalog: Catalog) -> None:
    evil = tmp_path / "=cmd.jpg"
    Image.new("RGB", (40, 40)).save(evil)
    prediction = catalog.load("classic").predict(evil)
    row = prediction.to_dict() | {"photo": evil.name}
    written = next(csv.DictReader(io.StringIO(as_csv([row]))))
    assert written["photo"] == "'=cmd.jpg"
    assert float(written["confidence"]) == prediction.confidence
