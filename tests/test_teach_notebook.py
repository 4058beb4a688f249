"""The notebook docs/teach.ipynb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from tests.conftest import ROOT
from tests.support.drawings import shape_jpeg

NOTEBOOK = json.loads((ROOT / "docs" / "teach.ipynb").read_text("utf-8"))


def test_notebook_teaches_and_uses_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    for label in ("circle", "square"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for seed in range(3):
            photo = tmp_path / "photos" / label / f"{seed}.jpg"
            photo.write_bytes(shape_jpeg(label, seed))
    names: dict[str, Any] = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102  # to run the notebook is the test
    printed = capsys.readouterr().out
    assert "of 6 photos" in printed
    assert names["prediction"].label in {"circle", "square"}
    assert names["prediction"].saliency is not None
    assert names["counts"].sum() == 6
    assert names["taught"].bundle.revision in printed


def test_notebook_holds_no_outputs() -> None:
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
