from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from core.errors import StoreError
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.rollout.shadow import ShadowRunner
from core.rollout.traffic import Rollouts
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.rollout_evidence import TrafficCounts
from core.store.rollouts import Rollout
from core.store.store import Store
from tests.support.rollouts import (
    MODEL,
    CatalogWithFailingCandidate,
    apply_rollout,
    begin_rollout,
    client_of,
    drawing,
    fake_worker,
    install_candidate,
    rollout_predictor,
)
from tests.support.servers import wait_for


@contextmanager
def refusing(store: Store, *tables: str) -> Iterator[None]:
    """Let the database refuse new rows of some tables."""
    refuse = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    with store.database.write() as connection:
        for table in tables:
            trigger = f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} {refuse}"
            connection.exec_driver_sql(trigger)
    yield
    with store.database.write() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DROP TRIGGER full_{table}")


def run_both(
    rollouts: Rollouts, rollout: Rollout, *, photos: int = 1, explained: bool = False
) -> None:
    """Let both revisions answer a batch, the candidate 1,000 times slower than allowed."""
    for assigned in (False, True):
        classifier = rollouts.classifier(MODEL, client_of(rollout, assigned=assigned))
        ms = rollout.slow_ms * (1000 if assigned else 0.5)
        rollouts.on_run(classifier, photos, ms, explained=explained)


@pytest.mark.parametrize("table", ["shadow_comparisons", "rollout_traffic"])
def test_comparisons_are_kept_until_the_database_takes_them(
    settings: Settings, photo: Path, table: str
) -> None:
    candidate = install_candidate(settings)
    command = fake_worker("answer(usual if photo != b'bad' else {'error': 'bad'})")
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate, "shadow")
        answer = catalog.load(MODEL).predict(photo)
        rollouts = Rollouts(
            catalog,
            lambda: Store.find(settings),
            is_idle=lambda: True,
            run_shadow=partial(ShadowRunner, command=command),
        )
        rollouts.refresh()
        with refusing(store, table):
            for each in (b"good", b"bad", b"better"):
                rollouts.on_answer(answer, each)

            def status() -> dict[str, int]:
                with suppress(StoreError):
                    rollouts.store()
                return rollouts.status()[0].photos

            wait_for(lambda: status().get("compared", 0) + status().get("failed", 0) == 3)
            assert store.rollouts.end(rollout.number, "stopped", BY_HAND)
            rollouts.refresh()
            assert rollouts.status() == [], "it ends, whatever can be stored"
            with pytest.raises(StoreError, match="the disk is full"):
                rollouts.store()
        rollouts.store()
        rollouts.store()
        rollouts.close()
        assert len(store.rollout_evidence.comparisons(rollout.number)) == 2
        counts = store.rollout_evidence.traffic(rollout.number)
    assert sum(each.candidate for each in counts) == 3
    assert sum(each.candidate_errors for each in counts) == 1


def test_counts_are_stored_when_the_process_stops(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        run_both(rollouts, rollout)
        rollouts.close()
        assert store.rollout_evidence.traffic(rollout.number) == [
            TrafficCounts(candidate=1, candidate_slow=1, live=1)
        ]


def test_explained_photos_are_no_evidence_of_slowness(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        for _ in range(50):
            run_both(rollouts, rollout, explained=True)
        rollouts.store()
        assert store.rollouts.active() == [rollout]
        assert store.rollout_evidence.traffic(rollout.number) == []
        for _ in range(50):
            run_both(rollouts, rollout)
        rollouts.store()
        rollouts.close()
        ended = store.rollouts.latest(MODEL)
    assert ended is not None
    assert "slow: 50 of 50 runs of the candidate failed, 0 of 50" in str(ended.reason)


def test_photos_of_one_batch_are_one_trial(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        run_both(rollouts, rollout, photos=32)
        rollouts.store()
        rollouts.close()
        counts = TrafficCounts(candidate=1, candidate_slow=1, live=1)
        assert store.rollout_evidence.traffic(rollout.number) == [counts]
        assert store.rollouts.active() == [rollout], "one slow batch is no evidence"


def test_failed_batch_is_one_error_and_its_fallback_no_success(settings: Settings) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingCandidate(settings)
    photos = [drawing(seed) for seed in range(6)]
    with closing(Store.open(settings)) as store:
        rollout = begin_rollout(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(rollout_predictor(settings, catalog)) as running:
            running.warm()
            wait_for(lambda: len(running.rollouts()) == 1)

            async def ask_all() -> list[Prediction]:
                tasks = [running.predict(p, model=MODEL, client=inside) for p in photos]
                return await asyncio.gather(*tasks)

            answers = asyncio.run(ask_all())
        assert {each.revision for each in answers} == {rollout.live}
        assert store.rollout_evidence.traffic(rollout.number) == [], "no run of the live revision"
