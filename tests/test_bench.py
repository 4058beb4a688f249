"""What `make bench` measures with; that it is fast enough, only a quiet machine can tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from bench.figures import Section, alternate, process, resident_mb
from bench.load import main as load
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.http_service import serving


def test_all_take_turns() -> None:
    turns: list[str] = []
    works = {name: partial(turns.append, name) for name in "ab"}
    taken = alternate(works, rounds=3)
    assert "".join(turns) == "abababab", "once to warm up, then three rounds"
    assert set(taken) == {"a", "b"}


def test_figures_are_written_as_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    section = Section("Title", "How.")
    section.add("start", 12.345, "ms", "under 20")
    section.add("ratio", 1234.5, "times")
    section.note("A finding.")
    assert section.rows == [("start", "12.3 ms", "under 20"), ("ratio", "1,234 times", "")]
    printed = capsys.readouterr().out
    assert "12.3 ms   (under 20)" in printed
    assert "A finding." in printed


def test_a_process_that_fails_is_no_figure() -> None:
    seconds, peak = process([sys.executable, "-c", "x = bytearray(60 << 20)"])
    assert seconds > 0
    assert peak > 60
    with pytest.raises(RuntimeError, match="exited with status 3"):
        process([sys.executable, "-c", "raise SystemExit(3)"])


def test_memory_of_what_a_process_started_counts() -> None:
    alone = resident_mb(os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(80 << 20); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert resident_mb(os.getpid()) > alone + 60
    child.communicate(b"\n")


def test_clients_ask_the_service(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    with serving(settings, Catalog(settings)) as url:
        address = f"{url}/v1/predict?model=classic"
        monkeypatch.setattr("sys.argv", ["load", "raw", address, str(photo), "2", "0.3"])
        load()
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) >= 2
    assert min(answers) > 0
