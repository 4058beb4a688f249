from __future__ import annotations

import pytest

from core.errors import RateError
from demo.context import ClientRateLimiter


def test_rate_limiter_counts_within_a_longer_window() -> None:
    judges = ClientRateLimiter(2, window_s=24 * 3600)
    for _ in range(2):
        judges.check_address("192.0.2.1")
    with pytest.raises(RateError) as told:
        judges.check_address("192.0.2.1")
    assert told.value.retry_after > 3600
    judges.check_address("192.0.2.2")
