from __future__ import annotations

from datetime import UTC, datetime

from core.rollout.active import RolloutStatus
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
    telemetry.watch_rollouts(lambda: active, lambda: {("canary", "rolled_back"): 2})
    lines = telemetry.text().decode().splitlines()
    assert 'tensight_rollout_share{candidate="new",kind="canary",model="a"} 0.1' in lines
    assert 'tensight_canary_evidence{model="a",test="accuracy"} 2.5' in lines
    assert 'tensight_shadow_photos{model="b",outcome="compared"} 7.0' in lines
    ended = 'tensight_rollouts_ended_total{kind="canary",outcome="rolled_back"} 2.0'
    assert ended in lines
    active.clear()
    lines = telemetry.text().decode().splitlines()
    assert [line for line in lines if "rollout" in line and "{" in line] == [ended]
