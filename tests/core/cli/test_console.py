"""Output of the command line."""

from __future__ import annotations

import pytest

from core.cli.console import print_table


def test_table_shows_brackets_literally(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["[bold]", "x"], [["[/]", "[link=https://bad.example]here[/link] :smile:"]])
    said = capsys.readouterr().out
    for words in ("[bold]", "[/]", "[link=https://bad.example]here[/link] :smile:"):
        assert words in said
