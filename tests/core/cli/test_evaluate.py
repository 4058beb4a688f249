"""The options of `tensight evaluate`, before any model is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.cli.main import build_app
from core.errors import ModelNotFoundError


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["classic", "--all"],
        ["--all", "--photos", "folder"],
        ["classic", "--photos", "folder", "--pictures", "folder"],
        ["classic", "--pictures", "folder", "--json"],
    ],
)
def test_options_that_exclude_each_other_are_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(build_app(), ["evaluate", *arguments]).exit_code == 2


@pytest.mark.parametrize("command", [["evaluate"], ["calibrate"]])
def test_model_that_is_not_bundled_cannot_be_evaluated(command: list[str]) -> None:
    with pytest.raises(ModelNotFoundError, match=r"There is no nothing in .* from the Hub keep"):
        CliRunner().invoke(build_app(), [*command, "nothing"], catch_exceptions=False)


def test_folder_without_models_cannot_be_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSIGHT_MODELS", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="There is no model to evaluate"):
        CliRunner().invoke(build_app(), ["evaluate", "--all"], catch_exceptions=False)
