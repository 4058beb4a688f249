"""Evaluation on a folder of photos."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from core.errors import DataError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.data.labelled_photos import read_labels
from core.training.evaluation.photos import evaluate_photos
from tests.support import made
from tests.support.command_line import run_tensight


def tensight(*arguments: str, models: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with a models folder."""
    return run_tensight(*arguments, TENSIGHT_MODELS=str(models))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write thirty photos of the classes, one of them mislabelled, and three of none."""
    split = made.dataset().test
    rows = ["file,label"]
    for i in range(30):
        Image.fromarray(split.images[i]).save(tmp_path / f"{i}.png")
        label = split.labels[i] if i else (split.labels[i] + 1) % 3
        rows.append(f"{i}.png,{made.LABELS[label]}")
    for i in range(3):
        Image.new("RGB", (50, 50), "white").save(tmp_path / f"none_{i}.png")
        rows.append(f"none_{i}.png,none")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_accuracy_and_recall_count_photos_of_known_classes(made_models: Path, folder: Path) -> None:
    figures = evaluate_photos(Catalog(Settings(models=made_models)).load("shapes"), folder)
    assert figures.n == 33
    assert figures.accuracy is not None
    assert figures.accuracy.n == 30
    assert figures.accuracy.share == pytest.approx(29 / 30)
    # Wilson's interval for 29 of 30, from its formula.
    assert figures.accuracy.low == pytest.approx(0.833, abs=1e-3)
    assert figures.accuracy.high == pytest.approx(0.994, abs=1e-3)
    assert {label: share.n for label, share in figures.recall.items()} == {
        "red square": 9,
        "green bar": 11,
        "blue sky": 10,
    }


def test_known_and_right_needs_verdict_and_label(made_models: Path, folder: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    answers = [classifier.predict(folder / f"{i}.png") for i in range(30)]
    truth = read_labels(folder, classifier.labels)
    right = [a.verdict == "known" and a.label == truth[f"{i}.png"] for i, a in enumerate(answers)]
    figures = evaluate_photos(classifier, folder)
    assert figures.known_and_right is not None
    assert figures.known_told_none is not None
    assert figures.known_and_right.share == pytest.approx(sum(right) / 30)
    none = [answer.verdict == "none" for answer in answers]
    assert figures.known_told_none.share == pytest.approx(sum(none) / 30)


def test_verdicts_of_photos_of_none_are_counted(made_models: Path, folder: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    # So that each verdict comes up: a third of the made photos is called `none` here too.
    rows = [f"{i}.png,none" for i in range(30)] + [f"none_{i}.png,none" for i in range(3)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]))
    verdicts = [classifier.predict(folder / row.split(",")[0]).verdict for row in rows]
    figures = evaluate_photos(classifier, folder)
    assert figures.accuracy is None
    assert figures.known_and_right is None
    assert figures.recall == {}
    assert figures.told_none is not None
    assert figures.taken_for_known is not None
    assert figures.told_none.share == pytest.approx(verdicts.count("none") / 33)
    assert figures.taken_for_known.share == pytest.approx(verdicts.count("known") / 33)
    assert verdicts.count("none") != verdicts.count("known")


def test_evaluate_photos_command_writes_nothing(made_models: Path, folder: Path) -> None:
    call = ["evaluate", "shapes", "--photos", str(folder)]
    before = {file: file.stat().st_mtime_ns for file in made_models.rglob("*")}
    run = tensight(*call, "--json", models=made_models)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["accuracy"]["n"] == 30
    table = tensight(*call, models=made_models).stdout
    assert "shapes, 33 photos" in table
    assert "no known class: verdict none" in table
    assert {file: file.stat().st_mtime_ns for file in made_models.rglob("*")} == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"labels\.csv cannot be read"),
        ("file,label\n", "lists no photo"),
        (
            "file,label\n0.png,cat\n",
            "line 2: the model has no label 'cat'; its labels are red square",
        ),
        ("name,kind\n0.png,none\n", "line 2: expected file,label"),
        ("file,label\n0.png,none\n0.png,blue sky\n", "line 3: 0.png was listed before"),
        ("file,label\ngone.png,none\n", r"gone\.png: There is no file"),
        ("file,label\nlabels.csv,none\n", "This is not a photo"),
    ],
)
def test_invalid_folder_is_reported(
    made_models: Path, tmp_path: Path, labels: str | None, message: str
) -> None:
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    with pytest.raises(DataError, match=message):
        evaluate_photos(classifier, tmp_path)


def test_published_photos_are_evaluated(catalog: Catalog, photos_folder: Path) -> None:
    figures = evaluate_photos(catalog.load("classic"), photos_folder)
    assert figures.n == 97
    assert figures.accuracy is not None
    assert figures.accuracy.n == 38
