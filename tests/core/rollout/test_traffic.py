from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.bundle.folder import Bundle
from core.errors import EngineStoppedError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.inference.isolated_engine import IsolatedEngine
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.rollout.traffic import Rollouts, Timings
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.rollouts import AUTOMATIC
from core.store.store import Store
from tests.support.rollouts import (
    MODEL,
    CatalogWithFailingCandidate,
    apply_rollout,
    ask,
    begin_rollout,
    client_of,
    drawing,
    fake_engine_worker,
    install_candidate,
    refresh_until,
    rollout_predictor,
)
from tests.support.servers import wait_for


def test_canary_answers_its_clients_until_it_ends(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(rollout_predictor(settings)) as running:
        running.warm()
        rollout = begin_rollout(store, settings, candidate)
        inside, outside = (client_of(rollout, assigned=each) for each in (True, False))
        wait_for(lambda: ask(running, photo, inside).revision == candidate)
        assert ask(running, photo, outside).revision == rollout.live
        assert ask(running, photo, None).revision == rollout.live, "the command line"
        wait_for(lambda: sum(t.live for t in store.rollout_evidence.traffic(rollout.number)) >= 1)
        assert store.rollouts.end(rollout.number, "stopped", BY_HAND)
        wait_for(lambda: ask(running, photo, inside).revision == rollout.live)
        with closing(rollout_predictor(settings)) as restarted:
            restarted.warm()
            assert ask(restarted, photo, inside).revision == rollout.live


def test_worse_candidate_is_rolled_back_automatically(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(rollout_predictor(settings)) as running:
        rollout = begin_rollout(store, settings, candidate)
        running.warm()
        inside = client_of(rollout, assigned=True)
        wait_for(lambda: ask(running, photo, inside).revision == candidate)
        for i in range(25):
            for revision, answer in ((candidate, "dog"), (rollout.live, "cat")):
                scores = {answer: 1.0}
                said = Feedback(
                    "bot", MODEL, revision, answer, "known", scores, "cat", f"person {i}"
                )
                store.feedback.add(said)
        wait_for(lambda: store.rollouts.active() == [])
        wait_for(lambda: ask(running, photo, inside).revision == rollout.live)
        ended = store.rollouts.latest(MODEL)
        assert ended is not None
        assert ended.outcome == "rolled_back"
        assert "worse than the live revision: accuracy: " in str(ended.reason)
        (entry,) = store.audit.recent(9)
        assert (entry.operator, entry.act) == (AUTOMATIC, f"canary {MODEL} {candidate}")


def test_equal_candidate_stays(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        for revision in (candidate, rollout.live):
            for i, answer in enumerate(["cat"] * 20 + ["dog"] * 3):
                said = answer, "known", {answer: 1.0}, "cat", f"person {i}"
                store.feedback.add(Feedback("bot", MODEL, revision, *said))
        rollouts.store()
        (status,) = rollouts.status()
        assert store.rollouts.active() == [status.rollout] == [rollout]
        assert 0 < status.evidence["accuracy"] < 2
        rollouts.close()


@pytest.mark.parametrize("nan", [False, True], ids=["raises", "computes NaN"])
def test_failing_canary_falls_back_to_live(settings: Settings, photo: Path, nan: bool) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingCandidate(settings)
    catalog.nan = nan
    with closing(Store.open(settings)) as store:
        rollout = begin_rollout(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(rollout_predictor(settings, catalog)) as running:
            running.warm()

            def failures() -> int:
                assert ask(running, photo, inside).revision == rollout.live
                assert ask(running, photo, None).revision == rollout.live
                return sum(
                    t.candidate_errors for t in store.rollout_evidence.traffic(rollout.number)
                )

            wait_for(lambda: failures() >= 2)


class CatalogWithFakeEngine(Catalog):
    """A catalog whose candidates run some code in their worker process for each photo."""

    code = ""

    def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
        engine = IsolatedEngine(
            bundle.folder,
            classes=len(bundle.config.labels),
            threads=1,
            command=fake_engine_worker(self.code, features=128),
            answer_timeout_s=2.0,
            **options,
        )
        return Classifier(bundle, threads=1, backbone=Backbone(bundle, engine))


@pytest.mark.parametrize("explained", [False, True])
def test_failing_canary_of_another_input_size_falls_back_to_live(
    settings: Settings, photo: Path, explained: bool
) -> None:
    candidate = install_candidate(settings, resize="squash")
    catalog = CatalogWithFailingCandidate(settings)
    with closing(Store.open(settings)) as store:
        rollout = begin_rollout(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(rollout_predictor(settings, catalog)) as running:
            running.warm()
            wait_for(lambda: running.rollouts() != [])
            ask_with = partial(running.predict, photo, model=MODEL, saliency=explained)
            found = asyncio.run(ask_with(client=inside))
            expected = asyncio.run(ask_with(client=None))
    assert found.revision == rollout.live
    assert found == replace(expected, timing_ms=found.timing_ms)


@pytest.mark.parametrize("code", ["os._exit(1)", "time.sleep(600)"], ids=["crashes", "hangs"])
def test_canary_that_crashes_or_hangs_twice_is_rolled_back(
    settings: Settings, photo: Path, code: str
) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFakeEngine(settings)
    catalog.code = code
    with closing(Store.open(settings)) as store:
        rollout = begin_rollout(store, settings, candidate)
        inside, outside = (client_of(rollout, assigned=each) for each in (True, False))
        with closing(rollout_predictor(settings, catalog)) as running:
            running.warm()
            wait_for(lambda: running.rollouts() != [])

            content = photo.read_bytes()

            async def ask_together() -> list[Prediction]:
                clients = [inside, outside, inside, None]
                asked = [running.predict(content, model=MODEL, client=each) for each in clients]
                return await asyncio.gather(*asked)

            assert {each.revision for each in asyncio.run(ask_together())} == {rollout.live}

            def has_ended() -> bool:
                assert ask(running, photo, inside).revision == rollout.live
                return store.rollouts.active() == []

            wait_for(has_ended)
        ended = store.rollouts.latest(MODEL)
        assert ended is not None
        assert ended.outcome == "rolled_back"
        assert "the candidate stopped: baseline crashed, or did not answer" in str(ended.reason)


def test_canary_that_crashes_once_is_started_again(
    settings: Settings, photo: Path, tmp_path: Path
) -> None:
    note = tmp_path / "has crashed"
    catalog = CatalogWithFakeEngine(settings)
    catalog.code = (
        f"if not os.path.exists({str(note)!r}):\n"
        f"    open({str(note)!r}, 'w').close()\n"
        "    os._exit(1)\n"
        "n = header['shape'][0]\n"
        "answer({'seconds': 0.001, 'shapes': [[n, 10], [n, 128]]}, bytes(4 * 138 * n))\n"
    )
    candidate = install_candidate(settings)
    with (
        closing(Store.open(settings)) as store,
        closing(rollout_predictor(settings, catalog)) as running,
    ):
        rollout = begin_rollout(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        running.warm()
        wait_for(lambda: ask(running, photo, inside).revision == candidate)
        assert note.exists()
        assert store.rollouts.active() == [rollout]


def test_engine_crash_counts_once_for_all_waiting_photos(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin_rollout(store, settings, candidate)
        rollouts = Rollouts(
            catalog, lambda: Store.find(settings), is_idle=lambda: True, timings=Timings(retry_s=0)
        )
        fail = partial(rollouts.on_failed_run, error=EngineStoppedError("it hangs"))
        inside = client_of(rollout, assigned=True)
        apply_rollout(rollouts)
        first = rollouts.classifier(MODEL, inside)
        for _ in range(3):
            fail(first, 1, explained=False)
            rollouts.on_run(catalog.load(MODEL), 1, 1.0, explained=False)
        assert rollouts.classifier(MODEL, inside).revision == rollout.live
        refresh_until(rollouts, lambda: rollouts.classifier(MODEL, inside).revision == candidate)
        second = rollouts.classifier(MODEL, inside)
        fail(first, 1, explained=False)
        assert rollouts.classifier(MODEL, inside) is second, "the first one stopped before"
        rollouts.store()
        assert (
            sum(each.candidate_errors for each in store.rollout_evidence.traffic(rollout.number))
            == 1
        )
        fail(second, 1, explained=False)
        rollouts.refresh()
        assert store.rollouts.active() == []
        rollouts.close()


def test_shadow_compares_answers_and_changes_none(
    settings: Settings, photo: Path, tmp_path: Path
) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(rollout_predictor(settings)) as running:
        rollout = begin_rollout(store, settings, candidate, "shadow")
        running.warm()

        wait_for(lambda: len(running.rollouts()) == 1)
        copy = tmp_path / "copy.jpg"
        copy.write_bytes(drawing(1))
        # The page passes paths to the predictor in its process, other fronts contents.
        for each in (photo.read_bytes(), copy):
            asked = running.predict(each, model=MODEL, client="chat:1")
            assert asyncio.run(asked).revision == rollout.live
        for again in (photo.read_bytes(), drawing(2)):
            asyncio.run(running.predict(again, model=MODEL, saliency=True))
        wait_for(lambda: len(store.rollout_evidence.comparisons(rollout.number)) == 2)
        first = store.rollout_evidence.comparisons(rollout.number)[0]
        assert first.live.label == first.candidate.label, "the weights are the same"
    with closing(Store.open(settings)) as store:
        assert len(store.rollout_evidence.comparisons(rollout.number)) == 2, (
            "explanations are no photos"
        )
