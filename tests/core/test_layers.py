"""Direction of imports, side effects of importing, and public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import core
from core import errors
from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.structure import FILES, MODULES, imported, imports_of, layer_of, module_of

# Errors of parts that are no Python API.
INTERNAL_ERRORS = {
    "BotError",
    "EngineStartError",
    "EngineStoppedError",
    "HubUnavailableError",
    "HubError",
    "ImageErrorCode",
    "SlowRequestError",
    "TeachingReason",
}
INTERNAL_ERRORS |= {"ChangedError", "CommandUnavailableError", "StoreError"}
INTERNAL_ERRORS |= {"UnsupportedSystemError"}
HEAVY = {
    *("tensorflow", "keras", "sklearn", "matplotlib", "pyarrow", "scipy", "yaml"),
    *("imagecorruptions", "numba", "cv2", "skimage"),
}


# Each of the next tests covers all files: 1,200 tests of a file each would take as long to collect
# and to report as to run.
def test_imports_point_one_way() -> None:
    wrong = []
    for module in (each for each in MODULES if not each.startswith("bench")):
        layer, room = layer_of(module)
        for other in imports_of(module):
            below, their_room = layer_of(other)
            if below >= layer and their_room != room:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_imports_have_no_cycles() -> None:
    TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()


def test_one_file_imports_the_hub_client() -> None:
    importing = [
        module_of(file)
        for file in FILES
        if any(name.startswith("huggingface_hub") for name in imported(file))
    ]
    assert importing == ["core.registry.hub"]


def test_one_file_imports_ray() -> None:
    importing = [
        module_of(file)
        for file in FILES
        if any(name.split(".")[0] == "ray" for name in imported(file))
    ]
    assert importing == ["core.serving.cluster"]


def test_serving_imports_nothing_of_training() -> None:
    program = (
        "import sys, core, core.serving.local, core.locale, core.cli.main, demo.app, bot.app\n"
        f"print(sorted({HEAVY} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    # The process that it is a fork of imports these and more that serves, and nothing else.
    with Fork(["-c", program], os.environ, stdout=subprocess.PIPE, kind="page") as run:
        output, _ = run.communicate()
    assert run.returncode == 0
    # pandas comes with Gradio and takes pyarrow where it finds it; TenSight does not.
    assert set(ast.literal_eval(output)) <= {"pyarrow", "yaml"}


def test_importing_core_has_no_side_effects(tmp_path: Path) -> None:
    program = (
        "import os, logging, core\n"
        "assert not logging.getLogger().handlers\n"
        "os.environ['XDG_DATA_HOME'] = '/later'\n"
        "del os.environ['TENSIGHT_HOME'], os.environ['TENSIGHT_PORT']\n"
        "assert str(core.Settings.read().home) == '/later/tensight'\n"
    )
    # Reading this setting raises an error.
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


def test_core_exports_its_public_names() -> None:
    assert {name: getattr(core, name) for name in core.__all__}.keys() == set(dir(core))
    assert set(core.__all__) >= set(errors.__all__) - INTERNAL_ERRORS
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        core.nothing  # noqa: B018  # to ask for it is the test


def test_importing_core_loads_no_dependency() -> None:
    program = (
        "import sys, core\n"
        "print(sorted({'PIL', 'ai_edge_litert', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


def test_modules_declare_their_public_names() -> None:
    for found in pkgutil.walk_packages(core.__path__, "core."):
        # Alembic runs the migrations as scripts.
        package = found.ispkg and found.name != "core.locale"
        if package or ".migrations" in found.name or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        assert all(hasattr(module, name) for name in module.__all__), found.name


def test_error_tree_is_documented() -> None:
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
