"""The command `tensight cluster config`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.ray_cluster import need_ray


def test_config_command_writes_a_new_folder(tmp_path: Path) -> None:
    need_ray()
    folder = tmp_path / "cluster"
    command = [sys.executable, "-m", "core.cli", "cluster", "config", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    written = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(written) == {"serve.yaml", "rayservice.yaml", "Caddyfile"}
    again = subprocess.run(
        [*command, "--replicas", "1"], capture_output=True, text=True, check=False, env=environment
    )
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == written


def test_config_command_needs_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'ray' else found(name)\n"
        "from core.cli import main\n"
        "main.main()\n"
    )
    for command in (["cluster", "config", str(tmp_path / "new")], ["serve", "--engine", "ray"]):
        with Fork(["-c", program, *command], os.environ, stderr=subprocess.PIPE) as run:
            _, errors = run.communicate()
        assert run.returncode == 1
        assert "needs the extra 'cluster', which is not installed" in errors
        assert "make cluster" in errors
    assert not (tmp_path / "new").exists()
