"""Problems with models are logged and passed on once."""

from __future__ import annotations

import logging

import pytest

from core.registry.failures import FailureLog


def test_problem_is_logged_and_passed_on_once(caplog: pytest.LogCaptureFixture) -> None:
    failures, received = FailureLog(), list[str]()
    failures.add_listener(received.append)
    for problem in ("classic is damaged", "classic is damaged", "baseline is damaged"):
        failures.report(problem)
    assert received == ["classic is damaged", "baseline is damaged"]
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert errors == received


def test_removed_listener_is_no_longer_called() -> None:
    failures, received = FailureLog(), list[str]()
    failures.add_listener(received.append)
    failures.remove_listener(received.append)
    failures.report("classic is damaged")
    assert received == []


def test_failing_listener_does_not_block_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(problem: str) -> None:
        raise RuntimeError(problem)

    failures, received = FailureLog(), list[str]()
    failures.add_listener(fail)
    failures.add_listener(received.append)
    failures.report("classic is damaged")
    assert received == ["classic is damaged"]
    assert "A listener for model failures failed" in caplog.text


def test_forgotten_problem_is_reported_again() -> None:
    failures, received = FailureLog(), list[str]()
    failures.add_listener(received.append)
    for _ in range(2):
        failures.report("The database is not available.")
        failures.report("classic is damaged")
        failures.forget("database")
    assert received == [
        "The database is not available.",
        "classic is damaged",
        "The database is not available.",
    ]
