"""The health check of a replica, which Ray calls; Ray itself is not needed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import BundleError, BusyError, PredictorError
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.serving.cluster import ServiceReplica


def check_with(outcome: Prediction | Exception) -> None:
    """Run the check of a replica whose predictor returns or raises this."""

    async def check(_photo: bytes) -> Prediction:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    replica = SimpleNamespace(_predictor=SimpleNamespace(check=check), _probe=b"")
    asyncio.run(ServiceReplica.check_health(cast(Any, replica)))


@pytest.fixture
def prediction(catalog: Catalog, photo: Path) -> Prediction:
    return catalog.load("classic").predict(photo)


def test_replica_that_classifies_the_probe_photo_is_healthy(prediction: Prediction) -> None:
    check_with(prediction)


def test_busy_replica_is_healthy() -> None:
    check_with(BusyError(1))


def test_replica_with_invalid_scores_is_unhealthy(prediction: Prediction) -> None:
    broken = replace(prediction, scores=dict.fromkeys(prediction.scores, float("nan")))
    with pytest.raises(BundleError, match="classic returns scores that sum to nan"):
        check_with(broken)


def test_replica_that_cannot_classify_is_unhealthy() -> None:
    with pytest.raises(PredictorError, match="the engine failed"):
        check_with(PredictorError("the engine failed"))
