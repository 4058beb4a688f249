"""What the README and the other pages promise."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
# It takes hours, or goes on for ever (tests/e2e starts it): its --help is run instead.
ONLY_HELP = {"bot", "serve", "train", "web"}
# tests/core/test_releases.py and tests/demo/test_space.py give these, to a Hub on loopback.
ASK_THE_HUB = {("models", each) for each in ("pull", "push", "rollback")} | {("space", "push")}
# tests/e2e/test_web.py gives this, once a visitor has left a photo.
NEED_VISITORS = {("feedback", "export")}
NEED_DATA = {"evaluate", "explore"}
# More than half a minute each.
LONG = (
    ".venv-dev/bin/tensight evaluate classic",
    ".venv-dev/bin/tensight evaluate classic --pictures pictures",
)


def test_the_first_commands_are_the_two() -> None:
    assert COMMANDS[:2] == ["make run", "make test"]


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=[pytest.mark.long] * (each in LONG)) for each in COMMANDS],
)
def test_every_command_runs(
    command: str, photo: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    photo.rename("photo.jpg")
    settings = {"PYTHONPATH": str(ROOT)}
    program, *arguments = shlex.split(command)
    if program == "make":
        run = ["make", "--dry-run", "-C", str(ROOT), *arguments]
    else:
        assert program in {".venv/bin/tensight", ".venv-dev/bin/tensight"}
        if arguments[0] in ONLY_HELP or tuple(arguments[:2]) in ASK_THE_HUB | NEED_VISITORS:
            arguments.append("--help")
        if arguments[0] in NEED_DATA:
            (tmp_path / "photos").mkdir()
            shutil.copy("photo.jpg", tmp_path / "photos")
            (tmp_path / "photos" / "labels.csv").write_text("file,label\nphoto.jpg,ship\n")
            settings["TENSIGHT_DATA"] = str(request.getfixturevalue("data_folder"))
            settings["TENSIGHT_MODELS"] = str(tmp_path / "models")  # evaluate writes there
            shutil.copytree(ROOT / "models", tmp_path / "models")
        run = [sys.executable, "-m", "core.cli", *arguments]
    environment = os.environ | settings
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_the_python_in_it_is_that_of_the_page() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(code, "README.md", "exec")
    assert 'handle_file("photo.jpg"), "classic", api_name="/predict"' in code


def test_commands_that_take_long_are_in_it() -> None:
    assert set(LONG) <= set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / target).exists(), target


def test_generated_pages_are_current() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    for name, content in pages.items():
        assert (ROOT / name).read_text("utf-8") == content, f"{name}: run make docs"


def test_no_figure_is_typed_by_hand() -> None:
    by_hand = re.sub(r"<!-- figures: .*<!-- end of figures -->", "", README, flags=re.DOTALL)
    assert not re.findall(r"0\.\d{3,}|\d+\.\d+ ?%", by_hand)


def test_every_make_target_is_explained() -> None:
    listed = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    for target in ("run", "test", "test-all", "check", "setup", "bench", "help", "requirements"):
        assert re.search(rf"^{target} +\S", listed, re.MULTILINE), target
