"""Help in plain text, with commands in panels."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["PanelGroup"]


class PanelGroup(TyperGroup):
    """A group whose help lists its commands by `rich_help_panel`, without rich.

    Typer draws panels with rich, whose import takes longer than the rest of `tensight --help`.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel, in the order of its first command."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if not command.hidden:
                panel = command.rich_help_panel or "Commands"
                summary = command.get_short_help_str(limit=1_000)
                panels.setdefault(panel, []).append((name, summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
