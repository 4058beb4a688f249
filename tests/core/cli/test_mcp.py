"""The option and the command that need the extra `mcp`."""

from __future__ import annotations

import importlib.util

import pytest

from core.cli.mcp import require_mcp
from core.errors import MissingExtraError


def test_absent_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"--mcp .*\bmcp\b"):
        require_mcp("--mcp")
