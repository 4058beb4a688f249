"""The command `tensight serve`, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from core.cli.main import build_app
from core.serving.http import server


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Record the addresses that are served in place of serving them."""
    addresses: list[tuple[str, int]] = []

    def serve(settings: Any, *, host: str, port: int, say: Any) -> None:
        addresses.append((host, port))

    monkeypatch.setattr(server, "serve", serve)
    return addresses


def test_option_takes_precedence_over_the_setting(
    served: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSIGHT_SERVICE_PORT", "9001")
    for arguments in (["serve"], ["serve", "--host", "127.0.0.2", "--port", "9002"]):
        assert CliRunner().invoke(build_app(), arguments).exit_code == 0
    assert served == [("127.0.0.1", 9001), ("127.0.0.2", 9002)]


@pytest.mark.parametrize("arguments", [["--replicas", "2"], ["--port", "70000"]])
def test_unusable_option_is_a_usage_error(
    served: list[tuple[str, int]], arguments: list[str]
) -> None:
    run = CliRunner().invoke(build_app(), ["serve", *arguments])
    assert run.exit_code == 2
    assert arguments[0] in run.output
    assert served == []
