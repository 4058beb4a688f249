"""Imports point one way; importing does nothing; what is public is said."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import core
from core import errors
from tests.conftest import ROOT

# Lower layers first: a module imports only from layers below its own.
LAYERS = [
    {"core.errors"},
    {"core.settings", "core.images", "core.hub", "core.output", "core.sockets"},
    {"core.bundle", "core.saliency"},
    {"core.engine", "core.results"},
    {"core.verdict"},
    {"core.classifier", "core.revisions"},
    {"core.store", "core.migrations", "core.card"},
    {"core.catalog", "core.locale", "core.feedback", "core.probe"},
    {"core.predictor", "core.releases", "core.telemetry"},
    {"core.first_pull"},
    {"core.service"},
    {"core"},
    {"core.training"},
    {"core.cli", "demo", "bot"},
]
FILES = sorted(
    file for package in ("bot", "core", "demo", "bench") for file in (ROOT / package).rglob("*.py")
)
HEAVY = {
    *("tensorflow", "keras", "sklearn", "matplotlib", "pyarrow", "scipy", "yaml"),
    *("imagecorruptions", "numba", "cv2", "skimage"),
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    while module:
        for i, layer in enumerate(LAYERS):
            if module in layer:
                return i
        module = module.rpartition(".")[0]
    raise AssertionError(f"{module} is in no layer")


def imported(file: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
            if node.module in ("bot", "core", "core.training", "demo"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(names: set[str]) -> set[str]:
    known = {module_of(file) for file in FILES}
    return {name for name in names if name in known}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    module = module_of(file)
    if module == "bench" or module.startswith("bench."):
        return
    for other in ours(imported(file, top_level_only=False)) - {module, "core", "core.training"}:
        if module == "core.cli" and other.startswith(("bot", "core.training", "demo")):
            assert other not in imported(file, top_level_only=True), "only inside a function"
        elif any(
            module.startswith(package) and other.startswith(package)
            for package in ("bot", "core.training", "demo")
        ):
            continue
        else:
            assert layer_of(other) < layer_of(module), f"{module} imports {other}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_one_file_imports_the_hub_client(file: Path) -> None:
    clients = {n for n in imported(file, top_level_only=False) if n.startswith("huggingface_hub")}
    assert not clients or module_of(file) == "core.hub"


def test_serving_imports_nothing_of_training() -> None:
    program = (
        "import sys, core, core.predictor, core.locale, core.cli, demo.app, bot.app\n"
        f"print(sorted({HEAVY} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # pandas comes with Gradio and takes pyarrow where it finds it; TenSight does not.
    assert set(ast.literal_eval(run.stdout)) <= {"pyarrow", "yaml"}


def test_importing_core_reads_no_environment_and_says_nothing(tmp_path: Path) -> None:
    program = (
        "import os, logging, core\n"
        "assert not logging.getLogger().handlers\n"
        "os.environ['XDG_DATA_HOME'] = '/later'\n"
        "del os.environ['TENSIGHT_HOME'], os.environ['TENSIGHT_PORT']\n"
        "assert str(core.Settings.read().home) == '/later/tensight'\n"
    )
    # To read this setting is an error.
    environment = os.environ | {"TENSIGHT_PORT": "many", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_core_names_what_is_public() -> None:
    public = {
        name
        for name, value in vars(core).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert public | {"__version__"} == set(core.__all__)


def test_every_module_names_what_is_public() -> None:
    for found in pkgutil.walk_packages(core.__path__, "core."):
        # The one is a folder alone, the others are scripts that Alembic runs.
        if found.name == "core.training" or found.name.startswith("core.migrations"):
            continue
        module = importlib.import_module(found.name)
        assert all(hasattr(module, name) for name in module.__all__), found.name


def test_the_error_tree_is_drawn() -> None:
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        value = getattr(errors, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            assert name in drawn
            assert issubclass(value, errors.TenSightError)
            builtins = {b.__name__ for b in value.__mro__ if b.__module__ == "builtins"}
            line = next(line for line in drawn.splitlines() if f" {name} " in f"{line} ")
            if "(" in line:
                assert line.split("(")[1].split(")")[0] in builtins
