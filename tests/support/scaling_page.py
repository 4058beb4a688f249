"""The commands of docs/SCALING.md."""

from __future__ import annotations

import os
import re
import subprocess

from tests.conftest import ROOT

__all__ = ["commands_of", "run_block"]

_PAGE = (ROOT / "docs" / "SCALING.md").read_text("utf-8")


def commands_of(heading: str) -> list[str]:
    """Return the shell blocks below a heading."""
    _, below = re.split(rf"^#+ {heading}$", _PAGE, flags=re.MULTILINE)
    section = re.split(r"^#+ ", below, flags=re.MULTILINE)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def run_block(block: str, **environment: str) -> str:
    """Run a block of the page, and return what it prints."""
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
