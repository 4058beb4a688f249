"""Rollouts that have ended cost no queries."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.bundle.folder import Bundle
from core.registry.catalog import Catalog
from core.rollout.traffic import Rollouts
from core.store.end_reasons import BY_HAND
from core.store.rollout_evidence import TrafficCounts
from core.store.store import Store
from tests.support.rollouts import MODEL, apply_rollout, install_candidate, settings_with_model


def test_rows_of_an_ended_rollout_are_not_read_again(tmp_path: Path) -> None:
    settings = settings_with_model(tmp_path)
    candidate = install_candidate(settings)
    live = Bundle.open(settings.models / MODEL).revision
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_more: Any) -> None:
        statements.append(statement)

    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        canary = store.rollouts.begin(
            MODEL, "canary", candidate=candidate, live=live, share=0.5, slow_ms=1e6
        )
        store.rollout_evidence.add_traffic(canary.number, TrafficCounts(candidate=1, live=1))
        rollouts = Rollouts(catalog, lambda: store, is_idle=lambda: True)
        apply_rollout(rollouts)
        sa.event.listen(store.database.engine, "before_cursor_execute", record)
        rollouts.store()
        assert any("FROM rollout_traffic" in each for each in statements)
        store.rollouts.end(canary.number, "stopped", BY_HAND)
        rollouts.refresh()
        statements.clear()
        for _ in range(3):
            rollouts.refresh()
            rollouts.store()
        read = [each for each in statements if "rollout_traffic" in each or "feedback" in each]
        assert read == []
