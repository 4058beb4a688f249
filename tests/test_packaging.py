"""The contents of the wheel, and the pinned requirements."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from core.bundle.folder import find_bundles
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.long
def test_installed_wheel_runs_every_command(tmp_path: Path, photo: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # setuptools leaves its build folder beside the sources, so they are copied first.
    sources = tmp_path / "sources"
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(sources)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("tensight-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for model in [folder.name for folder in find_bundles(ROOT / "models")]:
        tracked = {file.name for file in (ROOT / "models" / model).iterdir()}
        packed = {Path(name).name for name in names if f"/models/{model}/" in name}
        assert packed == tracked
    needed = [
        "core/locale/nl.toml",
        "core/py.typed",
        "demo/style.css",
        "dist-info/entry_points.txt",
    ]
    versions = (ROOT / "core" / "store" / "migrations" / "versions").glob("*.py")
    needed += [f"core/store/migrations/versions/{each.name}" for each in versions]
    for each in needed:
        assert any(name.endswith(each) for name in names), each
    assert not any(name.startswith(("tests/", "bench/", "docs/")) for name in names)

    # --prefix places data files as in a virtual environment. Without --ignore-installed pip would
    # uninstall the project under test.
    prefix = tmp_path / "prefix"
    install = [*pip, "install", "--ignore-installed", "--no-deps", "--no-index"]
    install += ["--prefix", str(prefix), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = prefix.glob("lib/python*/site-packages")

    def tensight(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = (
            "import sys, sysconfig\n"
            f"sys.path.insert(0, {str(site)!r})\n"
            "plain = sysconfig.get_path\n"
            f"data = {str(prefix)!r}\n"
            "sysconfig.get_path = lambda name: data if name == 'data' else plain(name)\n"
            "from core.cli import main\n"
            f"assert main.__file__.startswith({str(site)!r}), main.__file__\n"
            f"sys.argv = {['tensight', *arguments]!r}\n"
            "main.main()\n"
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            check=False,
        )

    run = tensight("predict", str(photo), "--json")
    assert run.returncode == 0, run.stderr
    # The database is created by migration scripts in the wheel.
    assert "Cannot roll back classic: " in tensight("models", "rollback", "classic").stderr
    # Fronts register their commands by entry points.
    for command in ("web", "serve", "space"):
        assert tensight(command, "--help").returncode == 0
    assert "TENSIGHT_TELEGRAM_TOKEN is not set" in tensight("bot").stderr
    default = Catalog(Settings(models=ROOT / "models")).default()
    assert json.loads(run.stdout)["model"] == default
    assert distribution("tensight").files, "the test removed the installed project"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_pins_have_hashes_and_no_index(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    pins = re.split(r"\n(?=\S)", text.strip())
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_serving_requirements_contain_no_training_packages() -> None:
    text = (ROOT / "requirements" / "serve.txt").read_text("utf-8")
    for package in ("tensorflow", "keras", "pyarrow", "pytest"):
        assert not re.search(rf"^{package}==", text, re.MULTILINE), package
    serve = set(re.findall(r"^(\S+==\S+)", text, re.MULTILINE))
    dev = (ROOT / "requirements" / "dev.txt").read_text("utf-8")
    assert serve <= set(re.findall(r"^(\S+==\S+)", dev, re.MULTILINE)), (
        "versions differ from those that are tested"
    )


# The first versions without known vulnerabilities that photos, uploads or requests can reach.
FIRST_SAFE = {
    "gradio": "6.16.0",  # CVE-2026-49119; before it CVE-2026-28414, -28415, -28416, PYSEC-2026-2178
    "pillow": "12.3.0",  # advisories of all before; CVE-2026-42311, -40192, -25990, CVE-2025-48379
    "pillow-heif": "1.3.0",  # CVE-2026-28231
    "python-multipart": "0.0.31",  # CVE-2026-53540, -53538, -42561, -40347, -24486
}


@pytest.mark.parametrize("package", FIRST_SAFE)
def test_lower_bound_excludes_vulnerable_versions(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    listed = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    (wanted,) = (r for r in map(Requirement, listed) if r.name == package)
    (lowest,) = (Version(s.version) for s in wanted.specifier if s.operator == ">=")
    assert lowest >= Version(FIRST_SAFE[package])
    for lock in LOCKS:
        for pinned in re.findall(rf"^{package}==(\S+)", lock.read_text("utf-8"), re.MULTILINE):
            assert wanted.specifier.contains(pinned), f"{lock.name} pins {pinned}"
