"""Locks between processes, and the error after a timeout."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import OutputError
from core.lock import locked

BUSY = OutputError("busy")


def test_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        locked(file, timeout_s=0, on_timeout=BUSY),
        pytest.raises(OutputError, match="busy"),
        locked(file, timeout_s=0, on_timeout=BUSY),
    ):
        pytest.fail("two hold the lock")
    with locked(file, timeout_s=0, on_timeout=BUSY):
        pass


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with pytest.raises(KeyError), locked(file, timeout_s=0, on_timeout=BUSY):
        raise KeyError
    with locked(file, timeout_s=0, on_timeout=BUSY):
        pass
