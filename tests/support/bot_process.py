"""The bot as a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.telegram_server import TelegramServer

__all__ = ["start_process"]


def start_process(
    telegram: TelegramServer,
    home: Path,
    *arguments: str,
    front: str = "bot",
    module: Sequence[str] = ("core.cli",),
    **settings: str,
) -> Fork:
    """Start `tensight bot`; it logs to bot.log in its home.

    Args:
        telegram: Server that it uses.
        home: Its data and working folder.
        arguments: Arguments of the command.
        front: Another command that is started instead.
        module: Module that is run, and the arguments before the command.
        settings: Further environment variables.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSIGHT_")}
    own = {f"TENSIGHT_{name.upper()}": value for name, value in telegram.settings().items()}
    own |= {"TENSIGHT_HOME": str(home), "TENSIGHT_MODEL": "classic", "TENSIGHT_LOG_LEVEL": "DEBUG"}
    home.mkdir(exist_ok=True)
    with (home / "bot.log").open("ab") as log:
        return Fork(
            ["-m", *module, front, *arguments],
            environment | {"PYTHONPATH": str(ROOT)} | own | settings,
            folder=home,
            kind="page" if front == "web" else "commands",
            stdout=log,
            stderr=subprocess.STDOUT,
        )
