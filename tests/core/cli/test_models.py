"""Commands about models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.bundle.folder import find_bundles
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support.command_line import run_tensight


def test_models_list_shows_stored_metrics(catalog: Catalog) -> None:
    rows = json.loads(run_tensight("models", "list", "--json").stdout)
    results = [*catalog.models(), *catalog.unbundled()]
    assert {entry.name for entry in catalog.models()} <= {result.config.name for result in results}
    assert [row["name"] for row in rows] == [result.config.name for result in results]
    assert [row["name"] for row in rows if row["default"]] == [catalog.default()]
    table = run_tensight("models", "list").stdout
    lines = (ROOT / "docs" / "RESULTS.md").read_text("utf-8").splitlines()
    for row, result in zip(rows, results, strict=True):
        metrics, training = result.metrics, result.config.training
        assert row["test"] == {"data": metrics.test.data, "n": metrics.test.n}
        for figure in ("accuracy", "precision", "recall", "f1"):
            assert row[figure] == getattr(metrics.test, figure)
            reported = row["reported"] and row["reported"][figure]
            assert reported == getattr(metrics.reported, figure, None)
        assert (row["parameters"], row["bytes"]) == (metrics.parameters, metrics.bytes)
        assert (row["milliseconds"], row["hardware"]) == (
            metrics.milliseconds,
            metrics.origin.hardware,
        )
        made = row["trained"]
        assert (made["data"], made["hardware"]) == (training.data, training.hardware)
        assert made["seconds"] == metrics.training_seconds
        assert f"{row['accuracy']:.4f}" in table
        # The same row of docs/RESULTS.md.
        cells = [
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
            row["weights"],
            row["resize"],
            str(row["views"]),
            f"{row['milliseconds']:.2f}",
        ]
        (line,) = [each for each in lines if f"(`{row['name']}`) | {' | '.join(cells)} | " in each]
        assert line.endswith(f"| {made['hardware']}, {made['date']} |")
        assert (row["revision"] or "figures only") in table


def test_models_list_of_empty_folder_exits_with_status_2(tmp_path: Path) -> None:
    assert run_tensight("models", "list", "--json", TENSIGHT_MODELS=str(tmp_path)).stdout == "[]\n"
    run = run_tensight("models", "list", TENSIGHT_MODELS=str(tmp_path))
    assert run.returncode == 2
    assert "There is no usable model in" in run.stderr


def test_models_verify_reports_corrupt_model(tmp_path: Path) -> None:
    run = run_tensight("models", "verify")
    names = {f"{folder.name}:" for folder in find_bundles(ROOT / "models")}
    assert (run.returncode, set(run.stdout.split())) == (0, names | {"good"})
    spoiled = tmp_path / "models"
    shutil.copytree(ROOT / "models", spoiled)
    (spoiled / "classic" / "model.tflite").write_bytes(b"spoiled")
    run = run_tensight("models", "verify", TENSIGHT_MODELS=str(spoiled))
    assert run.returncode == 1
    assert "baseline: good" in run.stdout
    assert "SHA-256 differs" in run.stdout
