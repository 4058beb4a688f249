"""Help with commands in panels."""

from __future__ import annotations

import re

import typer
from typer.testing import CliRunner

from core.cli.main import build_app
from core.cli.panels import PanelGroup


def test_help_lists_commands_in_panels() -> None:
    help_text = CliRunner().invoke(build_app(), ["--help"]).output
    panels = re.findall(r"^([A-Z][a-z ]+):$", help_text, re.MULTILINE)
    assert panels == ["Options", "Answer photos", "Run", "Train", "Models"]
    listed = re.findall(r"^  ([a-z-]+)  +\S", help_text, re.MULTILINE)
    core = ["predict", "explain", "serve", "config", "explore", "train", "export", "evaluate"]
    assert [each for each in listed if each in core] == core


def test_hidden_command_is_in_no_panel() -> None:
    app = typer.Typer(cls=PanelGroup, rich_markup_mode=None)
    app.command(rich_help_panel="Run")(_shown)
    app.command(hidden=True)(_hidden)
    help_text = CliRunner().invoke(app, ["--help"]).output
    assert re.search(r"^Run:\n  -?shown +Shown in the panel\.$", help_text, re.MULTILINE)
    assert "hidden" not in help_text


def _shown() -> None:
    """Shown in the panel."""


def _hidden() -> None:
    """Left out."""
