"""The rate limit, with an injected clock."""

from __future__ import annotations

import time

import pytest

from core.errors import RateError
from core.rate_limit import RateLimit


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_limit_expires_actions_after_the_window(clock: Clock) -> None:
    limit = RateLimit(2, clock=clock)
    limit.hit("a")
    clock.now += 20
    limit.hit("a")
    limit.hit("b")
    for later, wait in ((0, 40), (30, 10), (9.5, 1)):
        clock.now += later
        with pytest.raises(RateError) as refused:
            limit.hit("a")
        assert refused.value.retry_after == wait
    clock.now += 0.5
    limit.hit("a")
    with pytest.raises(RateError) as refused:
        limit.hit("a")
    assert refused.value.retry_after == 20


def test_retry_after_accounts_for_the_cost(clock: Clock) -> None:
    limit = RateLimit(10, clock=clock)
    for _ in range(3):
        limit.hit("a", 3)
        clock.now += 10
    for cost, wait in ((1, None), (4, 40), (7, 50)):
        if wait is None:
            limit.hit("a", cost)
            continue
        with pytest.raises(RateError) as refused:
            limit.hit("a", cost)
        assert refused.value.retry_after == wait


def test_cost_above_the_amount_needs_an_empty_window(clock: Clock) -> None:
    limit = RateLimit(10, clock=clock)
    limit.hit("a", 500)
    with pytest.raises(RateError):
        limit.hit("a")
    clock.now += 60
    limit.hit("a", 1)


def test_rate_limit_removes_inactive_keys(clock: Clock) -> None:
    limit = RateLimit(1, clock=clock)
    for key in range(1000):
        limit.hit(str(key))
    clock.now += 61
    limit.hit("last")
    assert set(limit._actions) == {"last"}


def test_rate_limit_counts_late_reports_by_their_timestamp(clock: Clock) -> None:
    limit = RateLimit(2, clock=clock)
    for minutes in (3, 3, 2, 2, 1):
        limit.hit("a", at=clock.now - 60 * minutes)
    limit.hit("a", at=clock.now - 60)
    with pytest.raises(RateError):
        limit.hit("a", at=clock.now - 61)
    limit.hit("a")


def test_rate_limit_ignores_future_timestamps_outside_their_window(clock: Clock) -> None:
    limit = RateLimit(1, clock=clock)
    limit.hit("a", at=clock.now + 3600)
    limit.hit("a")
    with pytest.raises(RateError):
        limit.hit("a", at=clock.now + 1)


def test_rate_limit_keeps_no_more_actions_than_its_amount(clock: Clock) -> None:
    limit = RateLimit(3, clock=clock)
    for i in range(100):
        limit.hit("a", at=clock.now + 60 * i)
    assert len(limit._actions["a"].done) == 3


def test_system_clock_set_back_locks_no_key_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RateLimit(1, window_s=1e-3)
    limit.hit("a")
    behind = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: behind)
    deadline = time.monotonic() + 30
    while True:
        try:
            limit.hit("a")
        except RateError:
            assert time.monotonic() < deadline
        else:
            return
