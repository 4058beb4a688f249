from __future__ import annotations

from contextlib import closing

from core.bundle.folder import Bundle
from core.registry.catalog import Catalog
from core.rollout.traffic import Rollouts
from core.settings import Settings
from core.store.store import Store
from tests.support.releases import retitled
from tests.support.rollouts import (
    MODEL,
    apply_rollout,
    begin_rollout,
    install_candidate,
)


def test_rollout_ends_where_another_revision_is_live(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        assert len(rollouts.status()) == 1
        # An upgrade changes what is bundled.
        retitled(settings.models / MODEL, "Upgraded")
        upgraded = Bundle.open(settings.models / MODEL).revision
        rollouts.refresh()
        assert rollouts.status() == []
        rollouts.close()
        ended = store.rollouts.latest(MODEL)
        (entry,) = store.audit.recent(9)
    assert ended is not None
    assert ended.outcome == "superseded"
    assert ended.reason == (
        f"{upgraded} is live instead of {rollout.live}, with which it was compared"
    )
    assert (entry.act, entry.outcome) == (f"canary {MODEL} {candidate}", ended.reason)
