"""The command `tensight teach`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.drawings import shape_jpeg, with_pixel


def folder_of(root: Path, *classes: str, each: int = 3) -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        for seed in range(each):
            (root / name / f"{seed}.jpg").write_bytes(shape_jpeg(name, seed))
    return root


def test_commands_of_the_guide_run(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", "circle", "square")
    (photos / "circle" / "notes.txt").write_text("no photo")
    (photos / "square" / "again.jpg").write_bytes(shape_jpeg("square", 0))
    (photos / ".hidden").mkdir()
    (tmp_path / "photo.jpg").write_bytes(shape_jpeg("circle", 40))
    guide = (ROOT / "docs" / "TEACH.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    teach, promote, predict, explain, push = [
        shlex.split(line)[1:] for block in blocks for line in block.splitlines()
    ]
    taught = run_tensight(*teach)
    assert taught.returncode == 0, taught.stderr
    name, revision = taught.stdout.split()
    assert name == "shapes"
    for part in (
        "of 6 photos are classified correctly by a model taught without them",
        "Skipped circle/notes.txt: ",
        "Duplicate photos, counted once: 1.",
        f"tensight models promote shapes {revision}",
    ):
        assert part in taught.stderr
    promoted = run_tensight(*promote[:-1], revision)
    assert promoted.returncode == 0, promoted.stderr
    assert "circle" in run_tensight(*predict).stdout
    explained = run_tensight(*explain)
    assert explained.returncode == 0, explained.stderr
    assert (tmp_path / "why.png").is_file()
    (python,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    result: dict[str, Any] = {}
    exec(python, result)  # noqa: S102  # to run the code of the guide is the test
    assert result["prediction"].revision == revision
    # tests/core/registry/test_taught_releases.py pushes to a Hub on loopback.
    assert run_tensight(*push[:3], "--help").returncode == 0


def test_report_is_printed_as_json(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", "circle", "square")
    lines = [
        f"{file.relative_to(photos)},{'ring' if file.parent.name == 'circle' else 'box'}"
        for file in sorted(photos.rglob("*.jpg"))
    ]
    (photos / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    run = run_tensight("teach", "shapes", photos, "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["name"] == "shapes"
    assert len(report["revision"]) == 12
    assert report["photos"] == {"box": 3, "ring": 3}
    assert report["weak"] == ["box", "ring"], "three photos are few"
    assert report["skipped"] == []


def assert_refused(photos: Path, why: str, name: str = "shapes", *options: str) -> None:
    """Assert that a folder is refused in one line, and that nothing is installed."""
    run = run_tensight("teach", name, photos, *options)
    assert run.returncode == 1
    assert why in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert not (photos.parent / "home" / "revisions").exists()


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("efficientnet", (), "comes with TenSight"),
        ("shapes", ("--title", "Classic CNN"), "comes with TenSight"),
        ("My shapes", (), "cannot be the name of a model"),
    ],
)
def test_invalid_name_of_a_model_is_refused(
    tmp_path: Path, name: str, options: tuple[str, ...], why: str
) -> None:
    assert_refused(folder_of(tmp_path / "photos", "circle", "square"), why, name, *options)


@pytest.mark.parametrize(
    ("classes", "each", "why"),
    [
        ((), 3, "has no folders with photos"),
        (("circle",), 3, "at least 2 classes"),
        (("circle", "square"), 2, "at least 3 different photos: 'circle' has 2, 'square' has 2"),
        (("circle", "None"), 3, "stands for photos of none of the classes"),
        (("circle", "\uff43ircle"), 3, "read the same"),
        (("circle", "squ\x07are"), 3, "characters that cannot be seen"),
        (("circle", "s" * 65), 3, "1 to 64 characters"),
        (tuple(str(n) for n in range(51)), 1, "at most 50 can be taught"),
        # All but circles and squares are drawn as the same bars.
        (("bars", "stripes"), 3, "Remove it from one of the classes"),
    ],
)
def test_invalid_classes_are_refused(
    tmp_path: Path, classes: tuple[str, ...], each: int, why: str
) -> None:
    (tmp_path / "photos").mkdir()
    assert_refused(folder_of(tmp_path / "photos", *classes, each=each), why)


def test_indistinguishable_photos_are_refused(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", "circle", "square")
    for i, file in enumerate(sorted((photos / "square").iterdir())):
        file.write_bytes(with_pixel(shape_jpeg("square", 0), 100 + 4 * i))
    assert_refused(photos, "All photos of 'square' look the same")
    for i, file in enumerate(sorted((photos / "square").iterdir())):
        file.write_bytes(with_pixel(shape_jpeg("circle", i), 116))
    assert_refused(photos, "The photos of 'circle' and 'square' look the same")
