"""Tests of the Hub that tests run against."""

from __future__ import annotations

import pytest

from tests.support.hub_server import Faults


def test_unknown_fault_is_refused() -> None:
    faults = Faults()
    with pytest.raises(AttributeError, match="slow_down_s"):
        setattr(faults, "slow_down_s", 1)  # noqa: B010  # mypy refuses the plain assignment
    for status in ({"apis": 500}, {"api": 500, "storage ": 500}):
        with pytest.raises(ValueError, match="unknown kinds of requests"):
            faults.status = status
        with pytest.raises(ValueError, match="unknown kinds of requests"):
            Faults(status=status)
    faults.status = {"api": 500, "/tag/": 403}
    assert faults.status_of("resolve", "/api/models/a/b/tag/v1") == 403
    assert faults.status_of("resolve", "/a/b/resolve/main/x") is None
