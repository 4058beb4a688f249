"""The command line, run as a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from core.bundle.folder import find_bundles
from core.cli.main import build_app
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support.command_line import run_tensight

TRAINING = {"tensorflow", "keras", "sklearn", "matplotlib", "scipy", "pyarrow", "gradio"}


def test_predict_prints_one_line_for_each_photo(photo: Path) -> None:
    run = run_tensight("predict", photo)
    assert run.returncode == 0
    assert run.stdout.startswith(f"{photo}: ")
    assert run.stdout.count("\n") == 1


def test_predict_json_prints_one_object_for_each_photo(
    photo: Path, tmp_path: Path, catalog: Catalog
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    run = run_tensight("predict", photo, text, tmp_path / "missing.png", photo, "--json")
    assert run.returncode == 1
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["photo"] for line in lines] == [
        str(photo),
        str(text),
        *[str(tmp_path / "missing.png"), str(photo)],
    ]
    assert [line.get("error", {}).get("code") for line in lines] == [
        None,
        "not_an_image",
        "not_readable",
        None,
    ]
    assert set(lines[1]) == {"photo", "error"}
    assert lines[1]["error"]["message"].startswith("This is not a photo.")
    assert sum(lines[0]["scores"].values()) == pytest.approx(1)
    expected = catalog.load().predict(photo)
    assert lines[0]["scores"] == pytest.approx(expected.scores, abs=1e-5)
    assert {**lines[0], "timing_ms": 0, "scores": 0} == {
        **json.loads(json.dumps(expected.to_dict())),
        "timing_ms": 0,
        "scores": 0,
        "confidence": pytest.approx(expected.confidence, abs=1e-5),
        "known_score": pytest.approx(expected.known_score, abs=1e-5),
    }


def test_predict_reports_failures_on_stderr(photo: Path, tmp_path: Path) -> None:
    run = run_tensight("predict", tmp_path / "missing.png", photo)
    assert run.returncode == 1
    assert "missing.png: There is no file" in run.stderr
    assert run.stdout.startswith(f"{photo}: ")


def test_predict_accepts_file_name_that_is_not_utf8(photo: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    os.rename(photo, odd)  # noqa: PTH104  # pathlib would hide the bytes
    name = os.fsdecode(odd)
    run = run_tensight("predict", name, "--json", PYTHONIOENCODING="utf-8:strict")
    assert (run.returncode, json.loads(run.stdout)["photo"]) == (0, name)
    assert run_tensight("predict", name, PYTHONIOENCODING="utf-8:strict").returncode == 0


def test_predict_uses_model_of_option_or_setting(photo: Path) -> None:
    chosen = json.loads(run_tensight("predict", photo, "-m", "baseline", "--json").stdout)
    assert chosen["model"] == "baseline"
    by_setting = run_tensight("predict", photo, "--json", TENSIGHT_MODEL="baseline")
    assert json.loads(by_setting.stdout)["scores"] == chosen["scores"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "Missing argument"),
        (["predict", "x.jpg", "--model", "nope"], "There is no model 'nope'. Available models: "),
        (["predict", "x.jpg", "--nope"], "No such option"),
        (["web", "--port", "0"], "greater than or equal to 1"),
        (["nope"], "No such command"),
        (["train", "nope"], "There is no recipe 'nope'. Recipes: baseline, classic, "),
        (["train"], "give the name of a recipe, or --all"),
        (["train", "classic", "--all"], "give the name of a recipe, or --all"),
    ],
)
def test_usage_error_exits_with_status_2(arguments: list[str], message: str) -> None:
    run = run_tensight(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stdout == ""


def test_invalid_setting_exits_with_status_2() -> None:
    run = run_tensight("models", "list", TENSIGHT_THREADS="0")
    assert run.returncode == 2
    assert run.stderr.startswith("TENSIGHT_THREADS=0: Input should be greater than or equal to 1")


def test_predict_imports_no_training_packages(photo: Path) -> None:
    program = (
        "import sys\n"
        "from core.cli import main\n"
        f"sys.argv = ['tensight', 'predict', {str(photo)!r}, '--json']\n"
        "try:\n    main.main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        f"assert not {TRAINING} & {{name.split('.')[0] for name in sys.modules}}\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["label"]


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


def test_config_masks_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENSIGHT_HUB_TOKEN=hf_very_secret\nTENSIGHT_PORT=4242\n")
    run = run_tensight("config")
    assert "TENSIGHT_PORT=4242" in run.stdout
    assert "TENSIGHT_HUB_TOKEN=**" in run.stdout
    assert "hf_very_secret" not in run.stdout + run.stderr


def test_version_is_printed() -> None:
    run = run_tensight("--version")
    assert (run.returncode, run.stdout) == (0, "tensight 0.1.0\n")


def test_training_command_without_the_extra_names_it() -> None:
    program = (
        "import sys\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name in {'tensorflow', 'keras'} else found(name)\n"
        "from core.cli import main\n"
        "sys.argv = ['tensight', 'train', 'classic']\n"
        "main.main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("This command needs the extra 'train', which is not installed")
    assert "make setup" in run.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "explore"])
def test_missing_data_names_the_folder_that_was_searched(command: str, tmp_path: Path) -> None:
    name = {"explore": [], "evaluate": ["classic"], "train": ["--all"]}[command]
    run = run_tensight(command, *name, TENSIGHT_DATA=str(tmp_path))
    assert run.returncode == 1
    assert f"TENSIGHT_DATA is {tmp_path}, which contains neither" in run.stderr


def test_commands_keep_their_names() -> None:
    group = typer.main.get_command(build_app())
    names = set(group.commands)  # type: ignore[attr-defined]
    assert names >= {"predict", "explain", "web", "bot", "serve", "space", "config", "explore"}
    assert names >= {"train", "evaluate", "export", "models", "feedback"}
    verbs = {name: set(group.commands[name].commands) for name in ("models", "feedback")}  # type: ignore[attr-defined]
    assert verbs["models"] == {"list", "pull", "promote", "rollback", "push", "gc", "verify"}
    assert verbs["feedback"] == {"stats", "export"}
