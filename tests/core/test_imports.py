"""Imports of a process at start-up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Packages that take long to import; the command line needs none of them to print its help.
HEAVY = {"PIL", "ai_edge_litert", "gradio", "httpx2", "huggingface_hub", "numpy", "pydantic"}
HEAVY |= {"asyncio", "pydantic_settings", "rich", "sqlalchemy", "telegram"}


def loaded(program: str) -> set[str]:
    """Return the top-level modules that a program has imported at its end."""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in run.stderr.split()}


def test_core_imports_only_the_standard_library() -> None:
    added = loaded("import core") - loaded("")
    assert added - sys.stdlib_module_names == {"core"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_printing_help_imports_nothing_heavy(option: str) -> None:
    program = (
        f"sys.argv = ['tensight', {option!r}]\n"
        "from core.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code"
    )
    assert not loaded(program) & HEAVY


@pytest.mark.parametrize(
    "module", ["core.inference.classifier", "core.registry.catalog", "core.serving.connect"]
)
def test_loading_models_imports_no_database_and_no_client(module: str) -> None:
    clients = {"httpx2", "huggingface_hub", "gradio", "telegram"}
    assert not loaded(f"import {module}") & (clients | {"sqlalchemy"})
