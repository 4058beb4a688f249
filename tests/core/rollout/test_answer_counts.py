from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from core.settings import Settings
from core.store.store import Store
from tests.support.rollouts import (
    MODEL,
    ask,
    drawing,
    rollout_predictor,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_answers_are_counted_for_drift(settings: Settings, photo: Path) -> None:
    with closing(Store.open(settings)) as store:
        with closing(rollout_predictor(settings)) as running:
            running.warm()
            found = ask(running, photo, "chat:1")
        # What was counted is stored when the predictor closes, if not before.
        (histograms,) = store.drift.between(EPOCH, EPOCH + timedelta(days=99_999)).values()
    assert sum(histograms.labels.values()) == 1
    (low,) = histograms.confidences
    assert float(low) - 0.001 <= found.confidence <= float(low) + 0.068


def test_explanation_of_an_answered_photo_is_no_further_photo(
    settings: Settings, photo: Path
) -> None:
    with closing(Store.open(settings)) as store:
        with closing(rollout_predictor(settings)) as running:
            running.warm()
            explained = partial(running.predict, model=MODEL, saliency=True)
            ask(running, photo, "chat:1")
            asyncio.run(explained(photo.read_bytes(), client="chat:1"))
            asyncio.run(explained(drawing(1), client="chat:1"))
        (histograms,) = store.drift.between(EPOCH, EPOCH + timedelta(days=99_999)).values()
    assert sum(histograms.labels.values()) == 2
