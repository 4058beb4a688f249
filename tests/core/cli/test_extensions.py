"""Commands and companions of fronts: registered by entry points, absent, or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner

from core.cli import extensions
from core.cli.extensions import add_commands, companions
from core.cli.main import build_app
from core.errors import CommandUnavailableError
from core.serving.connect import connect
from core.settings import Settings
from tests.conftest import ROOT


def only(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    """Register these entry points alone, in every group."""
    monkeypatch.setattr(
        extensions,
        "_registered",
        lambda group: [EntryPoint(name, value, group) for name, value in entries],
    )


def test_fronts_register_their_commands() -> None:
    help_text = CliRunner().invoke(build_app(), ["--help"]).output
    for command in ("predict", "serve", "models", "web", "space", "bot"):
        assert f" {command} " in help_text


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_photo_command_registers_no_other_command(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    only(monkeypatch, ("web", "no_such_package.cli:web"))
    app = build_app(command)
    assert {each.callback.__name__ for each in app.registered_commands if each.callback} == {
        "predict",
        "explain",
    }
    run = CliRunner().invoke(app, [command, "--help"])
    assert run.exit_code == 0
    assert CliRunner().invoke(build_app(), [command, "--help"]).output == run.output


def test_broken_front_is_reported_and_other_commands_work(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("web", "no_such_package.cli:web"), ("space", "demo.cli:space"))
    app = build_app()
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0
    assert CliRunner().invoke(app, ["space", "--help"]).exit_code == 0
    with pytest.raises(CommandUnavailableError) as caught:
        CliRunner().invoke(app, ["web"], catch_exceptions=False)
    assert str(caught.value).startswith(
        "tensight web: no_such_package.cli cannot be loaded (ModuleNotFoundError: No module named "
        "'no_such_package'). Install TenSight with its dependencies"
    )


def test_absent_front_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    run = CliRunner().invoke(build_app(), ["web"])
    assert run.exit_code == 2
    assert "No such command 'web'" in run.output
    assert "are not installed" in run.output


def test_entry_points_register_commands_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("bot", "bot.cli:bot"), ("space", "demo.cli:space"))
    app = typer.Typer()
    assert add_commands(app)
    assert [command.name for command in app.registered_commands] == ["bot"]
    assert [group.name for group in app.registered_groups] == ["space"]


def test_broken_companion_is_reported_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only(monkeypatch, ("other", "no_such_package:run"), ("bot", "bot.cli:companion"))
    settings = Settings(models=ROOT / "models", home=tmp_path)
    with closing(connect(settings)) as predictor, companions(settings, predictor, None):
        pass
    assert "other does not run beside the page: no_such_package" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "package"), [("web", "gradio"), ("bot", "telegram")])
def test_front_without_its_library_names_what_to_install(command: str, package: str) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from core.cli import main\n"
        f"sys.argv = ['tensight', {command!r}]\n"
        "main.main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TENSIGHT_TELEGRAM_TOKEN": "1:x"},
    )
    assert run.returncode == 1
    assert run.stderr.startswith(f"tensight {command}: a package cannot be loaded (")
    assert "Install TenSight with its dependencies" in run.stderr
    assert "Traceback" not in run.stderr


def test_companion_without_its_library_leaves_the_page_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only(monkeypatch, ("bot", "bot.cli:companion"))
    for name in [each for each in sys.modules if each.split(".")[0] in {"telegram", "bot"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "telegram", None)
    settings = Settings(models=ROOT / "models", home=tmp_path, telegram_token=SecretStr("1:x"))
    with closing(connect(settings)) as predictor, companions(settings, predictor, None):
        pass
    assert "bot does not run beside the page: bot.cli cannot be loaded" in capsys.readouterr().err


def cloned(tmp_path: Path, *packages: str) -> Path:
    """Copy some packages into a checkout that was never installed."""
    folder = tmp_path / "checkout"
    for package in packages:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def run_uninstalled(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of a folder as if TenSight were not installed."""
    program = (
        "import importlib.metadata as metadata, sys\n"
        "found = metadata.distribution\n"
        "def distribution(name):\n"
        "    if name == 'tensight':\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.distribution = distribution\n"
        # An editable install would find packages outside the folder.
        "sys.meta_path[:] = [each for each in sys.meta_path if '__editable__' not in str(each)]\n"
        "from core.cli import main\n"
        f"assert main.__file__.startswith({str(folder)!r}), main.__file__\n"
        f"sys.argv = {['tensight', *arguments]!r}\n"
        "main.main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )


def test_uninstalled_checkout_has_all_commands(tmp_path: Path) -> None:
    folder = cloned(tmp_path, "core", "demo", "bot")
    for command in ("web", "bot", "space"):
        run = run_uninstalled(folder, command, "--help")
        assert run.returncode == 0, run.stderr


def test_uninstalled_checkout_reports_absent_front(tmp_path: Path) -> None:
    folder = cloned(tmp_path, "core", "demo")
    assert run_uninstalled(folder, "--version").returncode == 0
    run = run_uninstalled(folder, "bot", "--webhook", "https://bot.example/hook")
    assert run.returncode == 1
    assert run.stderr.startswith("tensight bot: bot.cli cannot be loaded (ModuleNotFoundError")
    assert "Traceback" not in run.stderr


def test_folder_without_pyproject_has_commands_of_core_only(tmp_path: Path) -> None:
    folder = cloned(tmp_path, "core")
    (folder / "pyproject.toml").unlink()
    assert run_uninstalled(folder, "--version").returncode == 0
    run = run_uninstalled(folder, "web")
    assert run.returncode == 2
    assert "are not installed" in run.stderr
