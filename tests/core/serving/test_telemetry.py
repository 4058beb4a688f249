from __future__ import annotations

from datetime import UTC, datetime

from core.rollout.traffic import RolloutStatus
from core.serving.telemetry import Telemetry
from core.store.rollouts import Rollout


def test_rollouts_are_exported_while_they_are_active() -> None:
    began = datetime.now(UTC)
    canary = Rollout(1, "a", "canary", "new", "old", 0.1, 50.0, began)
    shadow = Rollout(2, "b", "shadow", "new", "old", 1.0, 50.0, began)
    active = [
        RolloutStatus(canary, {"accuracy": 2.5}, {}),
        RolloutStatus(shadow, {}, {"compared": 7, "dropped": 1}),
    ]
    telemetry = Telemetry()
    telemetry.watch_rollouts(lambda: active)
    lines = telemetry.text().decode().splitlines()
    assert 'tensight_rollout_share{candidate="new",kind="canary",model="a"} 0.1' in lines
    assert 'tensight_canary_evidence{model="a",test="accuracy"} 2.5' in lines
    assert 'tensight_shadow_photos{model="b",outcome="compared"} 7.0' in lines
    active.clear()
    assert "{" not in "".join(
        line for line in telemetry.text().decode().splitlines() if "rollout" in line
    )
