"""The units for systemd."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.tools import run_tool

UNITS = sorted((ROOT / "deploy" / "systemd").glob("tensight-*.service"))
PROGRAM = "/opt/tensight/bin/tensight"
# Of 100; systemd calls up to 40 "OK".
_MAX_EXPOSURE = 20


def _instance(unit: Path, folder: Path) -> Path:
    """Write an instance of a unit whose program is installed here."""
    copy = folder / unit.name.replace("@", "@1")
    copy.write_text(unit.read_text("utf-8").replace(PROGRAM, sys.executable))
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    done = run_tool("systemd-analyze", "verify", "--man=no", _instance(unit, tmp_path))
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_exposes_little(unit: Path, tmp_path: Path) -> None:
    done = run_tool(
        "systemd-analyze",
        *("security", "--offline=true", f"--threshold={_MAX_EXPOSURE}", "--no-pager"),
        _instance(unit, tmp_path),
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_command_of_the_unit_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.+)$", unit.read_text("utf-8"), re.MULTILINE)
    program, *arguments = shlex.split(line.replace("%i", "1").replace("${DOMAIN}", "bot.example"))
    assert program == PROGRAM
    run = run_tensight(*arguments, "--help")
    assert run.returncode == 0, run.stderr


def test_ports_of_the_units_are_those_of_the_proxy() -> None:
    caddyfile = (ROOT / "deploy" / "Caddyfile").read_text("utf-8")
    units = "".join(unit.read_text("utf-8") for unit in UNITS)
    for port in ("800%i", "844%i"):
        assert f"--port {port}" in units
        for replica in "12":
            assert f"127.0.0.1:{port.replace('%i', replica)}" in caddyfile
