"""The command line, run as a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from core.cli.main import build_app
from tests.support.command_line import run_tensight


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "Missing argument"),
        (["predict", "x.jpg", "--model", "nope"], "There is no model 'nope'. Available models: "),
        (["predict", "x.jpg", "--nope"], "No such option"),
        (["web", "--port", "0"], "greater than or equal to 1"),
        (["nope"], "No such command"),
        (["train", "nope"], "There is no recipe 'nope'. Recipes: baseline, classic, "),
        (["train"], "give the name of a recipe, or --all"),
        (["train", "classic", "--all"], "give the name of a recipe, or --all"),
    ],
)
def test_usage_error_exits_with_status_2(arguments: list[str], message: str) -> None:
    run = run_tensight(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stdout == ""


def test_invalid_setting_exits_with_status_2() -> None:
    run = run_tensight("models", "list", TENSIGHT_THREADS="0")
    assert run.returncode == 2
    assert run.stderr.startswith("TENSIGHT_THREADS=0: Input should be greater than or equal to 1")


def test_config_masks_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENSIGHT_HUB_TOKEN=hf_very_secret\nTENSIGHT_PORT=4242\n")
    run = run_tensight("config")
    assert "TENSIGHT_PORT=4242" in run.stdout
    assert "TENSIGHT_HUB_TOKEN=**" in run.stdout
    assert "hf_very_secret" not in run.stdout + run.stderr


def test_version_is_printed() -> None:
    run = run_tensight("--version")
    assert (run.returncode, run.stdout) == (0, "tensight 0.1.0\n")


def test_commands_keep_their_names() -> None:
    group = typer.main.get_command(build_app())
    names = set(group.commands)  # type: ignore[attr-defined]
    assert names >= {"predict", "explain", "web", "bot", "serve", "space", "config", "explore"}
    assert names >= {"train", "evaluate", "export", "models", "feedback"}
    verbs = {name: set(group.commands[name].commands) for name in ("models", "feedback")}  # type: ignore[attr-defined]
    assert verbs["models"] == {"list", "pull", "promote", "rollback", "push", "gc", "verify"}
    assert verbs["feedback"] == {"stats", "export"}


def test_help_names_each_argument_once() -> None:
    # Typer puts optional arguments into brackets, and adds dots where several are accepted.
    for arguments, expected in (
        (["evaluate"], "[NAME]"),
        (["shadow"], "[MODEL] [REVISION]"),
        (["models", "push"], "[NAME]..."),
    ):
        run = CliRunner().invoke(build_app(), [*arguments, "--help"])
        assert f"[OPTIONS] {expected}\n" in run.output
