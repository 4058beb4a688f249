"""Tests of the measuring code. The results themselves need an idle machine."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from bench.attacks import other_client
from bench.cluster import tables
from bench.figures import (
    Section,
    alternate,
    measure_process,
    resident_mb,
    write_section,
    write_tables,
)
from bench.load import main as load
from bench.photos import Photos
from bench.scaling import measure_model, measure_replicas
from bench.sections import SECTIONS
from bench.shadows import ShadowLoad, shadows
from bench.teaching import TeachingLoad, TeachingSize, teaching
from core.bundle.config import MODEL
from core.inference.classifier import Classifier
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.http_service import serving
from tests.support.ray_failures import Outcome
from tests.support.tools import require


def test_alternate_runs_functions_in_turn() -> None:
    turns: list[str] = []
    works = {name: partial(turns.append, name) for name in "ab"}
    taken = alternate(works, rounds=3)
    assert "".join(turns) == "abababab", "expected one warm-up and three rounds"
    assert set(taken) == {"a", "b"}


def test_section_stores_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    section = Section("Title", "How.")
    section.add("start", 12.345, "ms", "under 20")
    section.add("ratio", 1234.5, "times")
    section.note("A finding.")
    assert section.rows == [("start", "12.3 ms", "under 20"), ("ratio", "1,234 times", "")]
    printed = capsys.readouterr().out
    assert "12.3 ms   (under 20)" in printed
    assert "A finding." in printed


def test_failed_process_is_not_measured() -> None:
    seconds, peak = measure_process([sys.executable, "-c", "x = bytearray(60 << 20)"])
    assert seconds > 0
    assert peak > 60
    with pytest.raises(RuntimeError, match="exited with status 3"):
        measure_process([sys.executable, "-c", "raise SystemExit(3)"])


def test_resident_memory_includes_descendants() -> None:
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


def test_load_measures_latencies_of_the_service(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    with serving(settings, Catalog(settings)) as url:
        address = f"{url}/v1/predict?model=classic"
        # Responses after the deadline are not counted, so a busy machine needs a later one.
        for seconds in ("0.3", "5", "60"):
            monkeypatch.setattr("sys.argv", ["load", "raw", address, str(photo), "2", seconds])
            load()
            answers = json.loads(capsys.readouterr().out)
            if len(answers) >= 2:
                break
    assert len(answers) >= 2
    assert min(answers) > 0


def test_security_tables_replace_those_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "SECURITY.md"
    original = (ROOT / "docs" / "SECURITY.md").read_text("utf-8")
    page.write_text(original, "utf-8")
    for paragraphs in (["first"], ["| a |", "second"]):
        write_tables(paragraphs, page, section="security")
    begin, end = "<!-- bench security: begin -->", "<!-- bench security: end -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    written, _, after = rest.partition(end)
    assert written.endswith("do not edit.\n\n| a |\n\nsecond\n")
    assert (before, after) == (original.partition(begin)[0], original.partition(end)[2])
    page.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="does not contain <!-- bench security: begin -->"):
        write_tables(["x"], page, section="security")


def test_cost_of_a_photo_is_measured(tmp_path: Path, photo: Path) -> None:
    seconds, memory = measure_model("classic", photo, tmp_path, seconds=1)
    assert 0 < seconds < 60
    assert memory > 50


@pytest.mark.parametrize("name", ["scratch", "classic"])
def test_model_with_other_weights_keeps_its_verdict(
    catalog: Catalog, name: str, photo: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="openvino is in requirements/bench.txt")
    from bench.latency import with_weights

    bundled = catalog.bundled(name)
    assert bundled is not None
    copy = Classifier(with_weights(bundled, bundled.read(MODEL), tmp_path / name), threads=1)
    assert copy.predict(photo).scores == catalog.load(name).predict(photo).scores


def test_latency_is_measured_without_and_with_a_shadow(photo: Path, tmp_path: Path) -> None:
    small = ShadowLoad(model="baseline", rounds=2, photos=3, pause_s=0.0)
    section = shadows(Photos(photo, photo, photo), tmp_path, small)
    faulty = ("a shadow that hangs", "a shadow in an endless loop", "a shadow that crashes")
    kinds = ("no shadow", "a shadow", *faulty)
    measured = [what for what, _, _ in section.rows]
    assert measured[:10] == [f"{kind}, {name}" for kind in kinds for name in ("median", "p95")]
    assert measured[10:] == [
        f"{kind}: {name} against none" for kind in kinds[1:] for name in ("median", "p95")
    ]
    assert "3 in each of 2 rounds" in section.method


def test_teaching_and_answers_of_taught_models_are_measured(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    sizes = (TeachingSize(2, 3, 2, "at most 3"), TeachingSize(3, 4, 1, "at most 60"))
    small = TeachingLoad(sizes, calls=1, rounds=2)
    section = teaching(Photos(photo, photo, photo), tmp_path, small)
    names = ("2 classes of 3 photos", "3 classes of 4 photos")
    assert [(what, target) for what, _, target in section.rows] == [
        (f"until usable, {names[0]}", "at most 3"),
        (f"until usable, {names[1]}", "at most 60"),
        ("an answer, base", ""),
        *((f"an answer, {name}", "") for name in names),
        *((f"an answer, {name}: more than the base's", "at most 0.5") for name in names),
    ]
    assert [float(shown.split()[0]) > 0 for _, shown, _ in section.rows[:5]] == [True] * 5
    assert "medians of 2 with 2 classes of 3 photos, 1 with 3 classes of 4 photos" in section.method


@pytest.mark.long
def test_throughput_of_replicas_is_measured(tmp_path: Path, photo: Path) -> None:
    require("caddy")
    assert min(measure_replicas("classic", photo, tmp_path, seconds=2, rounds=1)) > 0


@pytest.mark.parametrize("section", ["scaling", "cluster"])
def test_page_on_scaling_has_a_place_for_the_figures(section: str, tmp_path: Path) -> None:
    page = shutil.copy(ROOT / "docs" / "SCALING.md", tmp_path)
    write_tables(["| a |"], Path(page), section=section, command="a command")
    assert "Generated by `a command`; do not edit.\n\n| a |\n<!--" in Path(page).read_text("utf-8")


def test_tables_of_ray_have_a_cell_for_each_heading() -> None:
    outcome = Outcome(2000, 3, lost=(), wrong=0, retries=5, median_s=0.1, p99_s=1.5)
    written = tables("A machine", [(16, 2, 0.5, 2.0)], [("a failure", outcome)])
    rows = [line for each in written for line in each.splitlines() if line.startswith("|")]
    assert rows[2] == "| 16 | 2 | 0.50 | 2.00 |"
    assert rows[5] == "| a failure | 3 | 2,000 | 0 | 0 | 5 | 100 ms | 1,500 ms |"
    assert [row.count("|") for row in rows] == [5] * 3 + [9] * 3


def test_measured_section_replaces_its_tables_alone(tmp_path: Path) -> None:
    page = Path(shutil.copy(ROOT / "docs" / "BENCHMARKS.md", tmp_path))
    before = page.read_text("utf-8")
    section = Section("Latency", "One photo.", notes=["A note."])
    section.add("a photo", 1.234, "ms", "under 5 ms")
    write_section(section, "latency", page, "2026-01-02", "abc")
    begin, end = "<!-- bench latency: begin -->", "<!-- bench latency: end -->"
    head, _, rest = page.read_text("utf-8").partition(begin)
    written, _, after = rest.partition(end)
    assert "## Latency" in written
    assert "| a photo | 1.23 ms | under 5 ms |" in written
    assert "Measured on 2026-01-02, code abc" in written
    assert (head, after) == (before.partition(begin)[0], before.partition(end)[2])


def test_page_of_benchmarks_has_a_place_for_each_section() -> None:
    page = (ROOT / "docs" / "BENCHMARKS.md").read_text("utf-8")
    assert [name for name in SECTIONS if f"<!-- bench {name}: begin -->" not in page] == []


def test_sections_name_functions_that_exist() -> None:
    assert "security_connections" not in SECTIONS
    for module, function in SECTIONS.values():
        tree = ast.parse((ROOT / "bench" / f"{module}.py").read_text("utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_other_client_records_its_waits() -> None:
    asked = threading.Semaphore(0)
    with other_client(asked.release, 0.0) as waits:
        for _ in range(3):
            assert asked.acquire(timeout=60)
    assert len(waits) >= 3
