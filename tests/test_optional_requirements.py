"""Optional requirements of tests: skipped if missing, failed if they are required."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT, need


def test_missing_requirement_skips_the_test_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_TEST_REQUIRE", "data")
    with pytest.raises(pytest.skip.Exception, match="no browser here"):
        need("chromium", False, "no browser here")
    need("data", True, "not looked at")


def test_missing_requirement_fails_the_test_if_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_TEST_REQUIRE", "chromium data")
    with pytest.raises(pytest.fail.Exception, match="required, and missing: no browser here"):
        need("chromium", False, "no browser here")


def test_ci_requires_every_installed_requirement() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    (required,) = re.findall(r'TENSIGHT_TEST_REQUIRE="(.+)"', script)
    deploy = {"caddy", "docker-compose", "hadolint", "promtool", "sqlite3", "systemd-analyze"}
    assert set(required.split()) == {"chromium", "postgres"} | deploy
    assert 'TENSIGHT_TEST_REQUIRE+=" data"' in script
    assert "export TENSIGHT_TEST_REQUIRE" in script
    assert script.endswith("make test\n")
