from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import BusyError, ImageError, RateError, TenSightError
from core.registry.catalog import Catalog
from core.serving.ask import RetryPolicy, ask_all, retry_while_busy
from core.serving.local import LocalPredictor


class Attempts:
    """Raises the given errors in turn, then returns a result."""

    def __init__(self, errors: Sequence[TenSightError]) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "result"


def test_busy_predictor_is_asked_again() -> None:
    attempts = Attempts([BusyError(0), RateError(0), BusyError(0)])
    assert asyncio.run(retry_while_busy(attempts)) == "result"
    assert attempts.count == 4


def test_retries_are_limited() -> None:
    attempts = Attempts([BusyError(0)] * 100)
    with pytest.raises(BusyError):
        asyncio.run(retry_while_busy(attempts, RetryPolicy(retries=3)))
    assert attempts.count == 4


def test_retry_waits_for_the_predictors_retry_after() -> None:
    async def ask() -> tuple[bool, int]:
        attempts = Attempts([BusyError(3600)])
        asking = asyncio.ensure_future(retry_while_busy(attempts, RetryPolicy(max_pause_s=7200)))
        for _ in range(10):
            await asyncio.sleep(0)
        waits = not asking.done()
        asking.cancel()
        return waits, attempts.count

    assert asyncio.run(ask()) == (True, 1)


def test_pause_before_a_retry_is_limited() -> None:
    attempts = Attempts([BusyError(3600)])
    assert asyncio.run(retry_while_busy(attempts, RetryPolicy(max_pause_s=0))) == "result"


def test_other_errors_are_not_retried() -> None:
    attempts = Attempts([ImageError("truncated", "The photo is damaged.")])
    with pytest.raises(ImageError):
        asyncio.run(retry_while_busy(attempts))
    assert attempts.count == 1


def test_ask_all_raises_only_if_every_model_fails(catalog: Catalog, jpeg: bytes) -> None:
    predictor = LocalPredictor(catalog, queue_size=4, deadline_s=60)
    models = [predictor.model(name) for name in ("baseline", "classic")]
    answers = asyncio.run(ask_all(predictor, models, jpeg))
    assert [title for title, _ in answers] == [model.config.title for model in models]
    with pytest.raises(ImageError):
        asyncio.run(ask_all(predictor, models, b"no photo"))
    predictor.close()
