"""The cache of the predictor's models."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bot.model_list import ModelList
from core.bundle.leaderboard import ModelInfo
from core.errors import ModelNotFoundError, PredictorError, UnavailableError
from core.registry.catalog import Catalog
from core.registry.taught import new_id
from core.serving.predictor import Predictor


class CountingPredictor:
    """A predictor that counts how often its models are listed, and may fail."""

    def __init__(self, catalog: Catalog) -> None:
        self._models = catalog.models()
        self.listed = 0
        self.error: PredictorError | None = None

    def models(self) -> list[ModelInfo]:
        self.listed += 1
        if self.error is not None:
            raise self.error
        return self._models

    def model(self, name: str) -> ModelInfo:
        raise ModelNotFoundError(f"asked for {name}")

    def default_model(self) -> str:
        return "classic"


@pytest.fixture
def predictor(catalog: Catalog) -> CountingPredictor:
    return CountingPredictor(catalog)


def list_of(predictor: CountingPredictor, **options: Any) -> ModelList:
    return ModelList(cast("Predictor", predictor), **options)


def test_callers_that_wait_share_one_request(predictor: CountingPredictor) -> None:
    async def ask() -> None:
        models = list_of(predictor, valid_s=3600)
        await asyncio.gather(*(models.all() for _ in range(5)))
        assert (await models.get("scratch")).config.name == "scratch"

    asyncio.run(ask())
    assert predictor.listed == 1


def test_models_are_listed_again_once_they_are_old(predictor: CountingPredictor) -> None:
    async def ask() -> None:
        models = list_of(predictor, valid_s=-1)
        await models.all()
        await models.all()

    asyncio.run(ask())
    assert predictor.listed == 2


def test_unavailable_predictor_is_asked_once(predictor: CountingPredictor) -> None:
    predictor.error = PredictorError("It cannot be reached.")

    async def ask() -> None:
        models = list_of(predictor, valid_s=3600)
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"^It cannot be reached\.$"):
                await models.all()

    asyncio.run(ask())
    assert predictor.listed == 1


def test_missing_model_is_replaced_by_the_default(predictor: CountingPredictor) -> None:
    async def ask() -> list[str]:
        models = list_of(predictor)
        return [await models.name_or_default(name) for name in ("scratch", "nothing", None)]

    assert asyncio.run(ask()) == ["scratch", "classic", "classic"]


def test_private_model_is_not_looked_for_in_the_list(predictor: CountingPredictor) -> None:
    name = new_id()
    with pytest.raises(ModelNotFoundError, match=f"asked for {name}"):
        asyncio.run(list_of(predictor).get(name))
    assert predictor.listed == 0
