"""Behaviour that all predictors share."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from core.errors import ModelNotFoundError, UnavailableError
from core.registry.catalog import Catalog
from core.serving.predictor import find_model, wait_for_result


def test_model_is_found_by_name_and_others_are_listed(catalog: Catalog) -> None:
    models = catalog.models()
    assert find_model(models, "classic").config.name == "classic"
    with pytest.raises(ModelNotFoundError, match=r"There is no model 'x'\. Available models: bas"):
        find_model(models, "x")
    with pytest.raises(ModelNotFoundError, match=r"Available models: none\."):
        find_model([], "x")


def test_closed_predictor_differs_from_a_cancelled_caller() -> None:
    async def run() -> None:
        closed: Future[int] = Future()
        closed.cancel()
        with pytest.raises(UnavailableError, match="closed"):
            await wait_for_result(closed)
        waiting = asyncio.create_task(wait_for_result(Future[int]()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        done: Future[int] = Future()
        done.set_result(3)
        assert await wait_for_result(done) == 3

    asyncio.run(run())
