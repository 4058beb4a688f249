"""Commands, links and figures of the README and the pages in docs/."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.http_service import serving
from tests.support.tools import run_tool

README = (ROOT / "README.md").read_text("utf-8")
# docs/ADD_A_MODEL.md is run by tests/core/training/export/test_keras_import.py, docs/TEACH.md by
# tests/core/cli/test_teach.py.
PAGES = [
    "README.md",
    *(
        f"docs/{each}.md"
        for each in ("TELEGRAM", "DEPLOYMENT", "HTTP_API", "MCP", "SPACES", "TRAINING")
    ),
]
# These run for hours or until stopped (tests/e2e starts them): only their --help is run.
ONLY_HELP = {"bot", "mcp", "serve", "train", "web"}
# tests/core/registry/test_releases.py and tests/demo/test_space.py run these against a Hub on
# loopback.
ASK_THE_HUB = {("models", each) for each in ("pull", "push", "rollback")} | {("space", "push")}
# tests/e2e/test_feedback.py runs this after a visitor has given feedback with a photo.
NEED_VISITORS = {("feedback", "export")}
NEED_DATA = {"draw-mistakes", "evaluate", "explore"}
# Each takes more than half a minute.
LONG = {
    ".venv-dev/bin/tensight evaluate classic",
    ".venv-dev/bin/tensight draw-mistakes classic pictures",
    ".venv-dev/bin/tensight explore",
}
# These take longer, up to hours; tests/core/training/ runs them on small data.
HOURS = {
    ".venv-dev/bin/tensight ablate --resume",
    ".venv-dev/bin/tensight calibrate classic",
    ".venv-dev/bin/tensight evaluate --all",
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def commands_of(page: str) -> list[str]:
    """Return the shell commands of a page, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [shlex.join(line) for line in lines if line]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))


def test_readme_begins_with_run_and_test_commands() -> None:
    assert commands_of("README.md")[:2] == ["make run", "make test"]


def test_readme_is_short() -> None:
    by_hand = re.sub(r"<!-- figures: .*<!-- end of figures -->", "", README, flags=re.DOTALL)
    assert len(by_hand.splitlines()) <= 95


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=[pytest.mark.long] * (each in LONG))
        for each in COMMANDS
        if each not in HOURS
    ],
)
def test_documented_command_runs(
    command: str, photo: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    photo.rename("photo.jpg")
    settings: dict[str, str] = {}
    program, *arguments = shlex.split(command)
    if program == "make":
        run = ["make", "--dry-run", "-C", str(ROOT), *arguments]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    else:
        assert program in {".venv/bin/tensight", ".venv-dev/bin/tensight"}
        if arguments[0] in ONLY_HELP or tuple(arguments[:2]) in ASK_THE_HUB | NEED_VISITORS:
            arguments.append("--help")
        (tmp_path / "photos").mkdir()
        shutil.copy("photo.jpg", tmp_path / "photos")
        (tmp_path / "photos" / "labels.csv").write_text("file,label\nphoto.jpg,ship\n")
        if arguments[0] in NEED_DATA:
            settings["TENSIGHT_DATA"] = str(request.getfixturevalue("data_folder"))
            settings["TENSIGHT_MODELS"] = str(tmp_path / "models")  # evaluate writes there
            shutil.copytree(ROOT / "models", tmp_path / "models")
        done = run_tensight(*arguments, **settings)
    assert done.returncode == 0, done.stderr


def test_python_example_of_readme_runs(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.setenv("TENSIGHT_MODELS", str(ROOT / "models"))
    photo.rename("photo.jpg")
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] in {"known", "unsure", "none"}


@pytest.mark.parametrize("page", ["README.md", "docs/HTTP_API.md"])
def test_curl_examples_run(page: str, photo: Path, catalog: Catalog) -> None:
    text = (ROOT / page).read_text("utf-8")
    examples = re.findall(r"^    curl (.*photo.*)$", text, re.MULTILINE)
    assert examples
    for name in ("photo.jpg", "one.jpg", "two.jpg"):
        shutil.copy(photo, name)
    with serving(Settings(models=ROOT / "models"), catalog) as url:
        for example in examples:
            arguments = shlex.split(example.replace("http://127.0.0.1:8000", url))
            run = run_tool("curl", "--fail", "--silent", *arguments)
            answer = json.loads(run.stdout)
            for prediction in answer.get("predictions", [answer]):
                assert prediction["verdict"] in {"known", "unsure", "none"}


def test_python_example_of_http_page_compiles() -> None:
    text = (ROOT / "docs" / "HTTP_API.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(code, "HTTP_API.md", "exec")
    assert 'handle_file("photo.jpg"), "classic", api_name="/predict"' in code


def test_long_commands_are_documented() -> None:
    assert set(COMMANDS) >= LONG | HOURS


def test_relative_links_resolve() -> None:
    for page in (*PAGES, "CONTRIBUTING.md", "docs/SCALING.md", "docs/SECURITY.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text("utf-8")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_functions_that_contributing_points_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Where to look")[2]
    pointers = re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", text.partition("\n## ")[0])
    assert len(pointers) >= 8
    for name, file in pointers:
        defined = {
            each.name: {part.name for part in ast.walk(each) if isinstance(part, FUNCTIONS)}
            for each in ast.parse((ROOT / file).read_text("utf-8")).body
            if isinstance(each, (ast.ClassDef, *FUNCTIONS))
        }
        owner, _, method = name.partition(".")
        assert not method or method in defined[owner], f"{name} in {file}"
        assert owner in defined, f"{name} in {file}"


def test_generated_pages_are_current() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    for name, content in pages.items():
        assert (ROOT / name).read_text("utf-8") == content, f"{name}: run make docs"


def test_pictures_of_readme_are_generated() -> None:
    shown = re.findall(r'!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"', README)
    named = ["".join(each) for each in shown]
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PICTURES"]
    assert sorted(named) == sorted(generated)
    for name in named:
        with Image.open(ROOT / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300, name


def test_readme_has_no_hand_written_figures() -> None:
    by_hand = re.sub(r"<!-- figures: .*<!-- end of figures -->", "", README, flags=re.DOTALL)
    assert not re.findall(r"0\.\d{3,}|\d+\.\d+ ?%", by_hand)


def test_every_make_target_has_a_help_text() -> None:
    listed = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    for target in ("run", "test", "test-all", "check", "setup", "bench", "help", "requirements"):
        assert re.search(rf"^{target} +\S", listed, re.MULTILINE), target
