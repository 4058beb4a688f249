"""Commands that train and evaluate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import made
from tests.support.command_line import run_tensight


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


@pytest.mark.long
def test_explore_without_real_photos_says_what_the_folder_must_hold(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (10, 3), np.uint8)
    made.cifar10(tmp_path, colours)
    run = run_tensight("explore", "--out", tmp_path / "out", TENSIGHT_DATA=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert "Images of each class" in run.stdout
    assert f"{tmp_path / 'real_photos'} holds no train-*.parquet: it must hold" in run.stderr
    assert "image {bytes, path}, label (0 to 9 as in CIFAR-10, 10 for none of them)" in run.stderr
