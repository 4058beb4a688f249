from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.rollout.assignment import is_assigned
from core.store.rollouts import Rollout
from tests.support.rollouts import (
    MODEL,
)


def test_share_of_clients_is_stable_and_as_configured() -> None:
    began = datetime.now(UTC)
    rollout = Rollout(1, MODEL, "canary", "new", "old", 0.1, 50.0, began)
    clients = [f"chat:{i}" for i in range(5000)]
    mine = {c for c in clients if is_assigned(rollout, c)}
    assert 0.08 < len(mine) / len(clients) < 0.12
    assert mine == {c for c in clients if is_assigned(replace(rollout), c)}
    larger = replace(rollout, share=0.5)
    assert mine < {c for c in clients if is_assigned(larger, c)}
    later = replace(rollout, began_at=began + timedelta(days=1))
    assert mine != {c for c in clients if is_assigned(later, c)}, "another canary, other clients"
