from __future__ import annotations

import asyncio
import io
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.bundle.folder import Bundle
from core.errors import BundleError, EngineStartError, EngineStoppedError, StoreError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.isolated_engine import IsolatedEngine
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.registry.releases import Releases
from core.rollout.shadow import ShadowRunner
from core.rollout.traffic import Rollouts, Timings, is_assigned
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.rollouts import AUTOMATIC, Rollout, TrafficCounts
from core.store.store import Store
from tests.support import drawings
from tests.support.processes import is_running
from tests.support.releases import retitled
from tests.support.rollouts import (
    MODEL,
    apply_rollout,
    fake_engine_worker,
    fake_worker,
    install_candidate,
    refresh_until,
    settings_with_model,
)
from tests.support.servers import wait_for

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAST = Timings(poll_s=0.02, store_s=0.05, retry_s=0.02)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_model(tmp_path)


def begin(store: Store, settings: Settings, candidate: str, kind: str = "canary") -> Rollout:
    live = Bundle.open(settings.models / MODEL).revision
    return store.rollouts.begin(
        MODEL,
        "shadow" if kind == "shadow" else "canary",
        candidate=candidate,
        live=live,
        share=1.0 if kind == "shadow" else 0.5,
        slow_ms=1e6,
    )


def predictor(settings: Settings, catalog: Catalog | None = None) -> LocalPredictor:
    catalog = catalog or Catalog(settings)
    return LocalPredictor(
        catalog,
        queue_size=8,
        deadline_s=60,
        rollouts=lambda is_idle: Rollouts(
            catalog, lambda: Store.find(settings), is_idle=is_idle, timings=FAST
        ),
    )


def ask(predictor: LocalPredictor, photo: Path, client: str | None) -> Prediction:
    return asyncio.run(predictor.predict(photo.read_bytes(), model=MODEL, client=client))


def drawing(seed: int) -> bytes:
    """Return a photo of its own for each seed."""
    stream = io.BytesIO()
    drawings.ship(200 + seed, 150).save(stream, "JPEG")
    return stream.getvalue()


def client_of(rollout: Rollout, *, assigned: bool) -> str:
    return next(c for i in range(99) if is_assigned(rollout, c := f"chat:{i}") == assigned)


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


def test_canary_answers_its_clients_until_it_ends(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(predictor(settings)) as running:
        running.warm()
        rollout = begin(store, settings, candidate)
        inside, outside = (client_of(rollout, assigned=each) for each in (True, False))
        wait_for(lambda: ask(running, photo, inside).revision == candidate)
        assert ask(running, photo, outside).revision == rollout.live
        assert ask(running, photo, None).revision == rollout.live, "the command line"
        wait_for(lambda: sum(t.live for t in store.rollouts.traffic(rollout.number)) >= 1)
        assert store.rollouts.end(rollout.number, "stopped", BY_HAND)
        wait_for(lambda: ask(running, photo, inside).revision == rollout.live)
        with closing(predictor(settings)) as restarted:
            restarted.warm()
            assert ask(restarted, photo, inside).revision == rollout.live


def test_worse_candidate_is_rolled_back_automatically(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(predictor(settings)) as running:
        rollout = begin(store, settings, candidate)
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
        rollout = begin(store, settings, candidate)
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


class CatalogWithFailingCandidate(Catalog):
    """A catalog whose candidates fail at every photo, or compute NaN."""

    nan = False

    def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
        loaded, nan = super().load_candidate(bundle, **options), self.nan

        class Failing(Classifier):
            def __init__(self) -> None:
                self.__dict__ |= loaded.__dict__

            def infer(
                self, seen: Sequence[PreprocessedPhoto], *, saliency: Sequence[bool]
            ) -> list[Prediction]:
                if not nan:
                    raise BundleError("it cannot run")
                predictions = super().infer(seen, saliency=saliency)
                return [replace(each, known_score=math.nan) for each in predictions]

        return Failing()


@pytest.mark.parametrize("nan", [False, True], ids=["raises", "computes NaN"])
def test_failing_canary_falls_back_to_live(settings: Settings, photo: Path, nan: bool) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingCandidate(settings)
    catalog.nan = nan
    with closing(Store.open(settings)) as store:
        rollout = begin(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(predictor(settings, catalog)) as running:
            running.warm()

            def failures() -> int:
                assert ask(running, photo, inside).revision == rollout.live
                assert ask(running, photo, None).revision == rollout.live
                return sum(t.candidate_errors for t in store.rollouts.traffic(rollout.number))

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
        rollout = begin(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(predictor(settings, catalog)) as running:
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
        rollout = begin(store, settings, candidate)
        inside, outside = (client_of(rollout, assigned=each) for each in (True, False))
        with closing(predictor(settings, catalog)) as running:
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
    with closing(Store.open(settings)) as store, closing(predictor(settings, catalog)) as running:
        rollout = begin(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        running.warm()
        wait_for(lambda: ask(running, photo, inside).revision == candidate)
        assert note.exists()
        assert store.rollouts.active() == [rollout]


def test_engine_crash_counts_once_for_all_waiting_photos(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate)
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
        assert sum(each.candidate_errors for each in store.rollouts.traffic(rollout.number)) == 1
        fail(second, 1, explained=False)
        rollouts.refresh()
        assert store.rollouts.active() == []
        rollouts.close()


def test_candidate_that_no_machine_can_load_is_rolled_back(settings: Settings) -> None:
    class Unloadable(Catalog):
        def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
            raise BundleError("its operators are unknown")

    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Unloadable(settings)) as catalog:
        begin(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        refresh_until(rollouts, lambda: store.rollouts.active() == [])
        assert rollouts.ends() == {
            ("canary", "rolled_back"): 1,
            ("canary", "superseded"): 0,
            ("shadow", "stopped"): 0,
            ("shadow", "superseded"): 0,
        }
        ended = store.rollouts.latest(MODEL)
        entries = store.audit.by(AUTOMATIC, datetime.now(UTC) - timedelta(minutes=1))
        rollouts.close()
    assert ended is not None
    assert ended.outcome == "rolled_back"
    assert ended.reason == "the candidate cannot be loaded: its operators are unknown"
    assert [(each.act, each.outcome) for each in entries.values()] == [
        (f"canary {MODEL} {candidate}", ended.reason)
    ]


class CatalogWithFailingStart(Catalog):
    """A catalog whose candidates' processes do not start the first few times."""

    fails = 0

    def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
        if self.fails == 0:
            return super().load_candidate(bundle, **options)
        self.fails -= 1
        raise EngineStartError("it was killed")


def test_candidate_whose_process_does_not_start_is_loaded_again(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingStart(settings)
    catalog.fails = 2
    with closing(Store.open(settings)) as store, closing(catalog):
        rollout = begin(store, settings, candidate)
        rollouts = Rollouts(
            catalog, lambda: Store.find(settings), is_idle=lambda: True, timings=Timings(retry_s=0)
        )
        inside = client_of(rollout, assigned=True)
        assert rollouts.classifier(MODEL, inside).revision == rollout.live
        apply_rollout(rollouts)
        assert rollouts.classifier(MODEL, inside).revision == candidate
        assert store.rollouts.active() == [rollout]
        rollouts.close()
    assert caplog.text.count("it was killed") == 2


def test_canary_ends_at_the_third_failed_start(settings: Settings) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingStart(settings)
    catalog.fails = 3
    with closing(Store.open(settings)) as store, closing(catalog):
        begin(store, settings, candidate)
        rollouts = Rollouts(
            catalog, lambda: Store.find(settings), is_idle=lambda: True, timings=Timings(retry_s=0)
        )
        refresh_until(rollouts, lambda: store.rollouts.active() == [])
        rollouts.close()
        ended = store.rollouts.latest(MODEL)
    assert catalog.fails == 0
    assert ended is not None
    assert ended.reason == "the candidate cannot be loaded: it was killed"


class CatalogWithSlowStart(Catalog):
    """A catalog whose candidates' processes write their numbers to a file, and are never ready."""

    note = Path()

    def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
        program = (
            "import os, time\n"
            f"open({str(self.note)!r}, 'w').write(str(os.getpid()))\n"
            "time.sleep(600)\n"
        )
        command = sys.executable, "-c", program
        IsolatedEngine(bundle.folder, classes=10, threads=1, command=command, **options)
        raise AssertionError("it has started")

    def wait_for_process(self) -> int:
        """Return the number of the process once it starts."""
        wait_for(lambda: self.note.is_file() and self.note.read_text() != "")
        return int(self.note.read_text())


def test_slow_candidate_load_delays_neither_other_rollouts_nor_shutdown(
    settings: Settings, tmp_path: Path
) -> None:
    settings_with_model(tmp_path, "classic")
    catalog = CatalogWithSlowStart(settings)
    catalog.note = tmp_path / "process"
    candidate = install_candidate(settings)
    other, live = install_candidate(settings, model="classic"), settings.models / "classic"
    with closing(Store.open(settings)) as store, closing(catalog):
        canary = begin(store, settings, candidate)
        rollouts = Rollouts(
            catalog,
            lambda: Store.find(settings),
            is_idle=lambda: True,
            run_shadow=partial(ShadowRunner, command=fake_worker("answer(usual)")),
        )
        rollouts.refresh()
        process = catalog.wait_for_process()
        shadow = store.rollouts.begin(
            "classic",
            "shadow",
            candidate=other,
            live=Bundle.open(live).revision,
            share=1.0,
            slow_ms=1e6,
        )
        rollouts.refresh()
        assert [each.rollout for each in rollouts.status()] == [shadow]
        rollouts.close()
        assert not is_running(process)
        assert canary in store.rollouts.active(), "it proves nothing about the candidate"


def test_ending_a_canary_stops_a_candidate_that_is_loading(
    settings: Settings, tmp_path: Path
) -> None:
    catalog = CatalogWithSlowStart(settings)
    catalog.note = tmp_path / "process"
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(catalog):
        rollout = begin(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        rollouts.refresh()
        process = catalog.wait_for_process()
        assert store.rollouts.end(rollout.number, "stopped", BY_HAND)
        rollouts.refresh()
        assert not is_running(process)
        rollouts.close()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.tflite", lambda content: content[:99]),
        ("config.json", lambda content: content[:99]),
        ("config.json", lambda content: content + b"\n"),
    ],
    ids=["model", "configuration", "other revision"],
)
def test_damaged_copy_of_a_candidate_ends_no_canary(
    settings: Settings, file: str, damage: Callable[[bytes], bytes]
) -> None:
    candidate = install_candidate(settings)
    copy = settings.home / "revisions" / candidate / MODEL / file
    content = copy.read_bytes()
    copy.write_bytes(damage(content))
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate)
        reported: list[str] = []
        catalog.add_failure_listener(reported.append)
        timings = Timings(retry_s=0.0)
        rollouts = Rollouts(
            catalog, lambda: Store.find(settings), is_idle=lambda: True, timings=timings
        )
        refresh_until(rollouts, lambda: reported != [])
        rollouts.refresh()
        assert store.rollouts.active() == [rollout], "other machines have sound copies"
        inside = client_of(rollout, assigned=True)
        assert rollouts.classifier(MODEL, inside).revision == rollout.live
        (report,) = reported
        assert "its copy of the candidate is damaged or incomplete" in report
        copy.write_bytes(content)
        apply_rollout(rollouts)
        assert rollouts.classifier(MODEL, inside).revision == candidate
        rollouts.close()


def test_candidate_that_is_not_installed_here_is_ignored(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, "0" * 12)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        rollouts.refresh()
        rollouts.refresh()
        assert rollouts.status() == []
        assert store.rollouts.active() == [rollout], "another replica may have it"
        rollouts.close()
    assert caplog.text.count("is not installed here") == 1


def test_rollout_ends_where_another_revision_is_live(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate)
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


def test_shadow_compares_answers_and_changes_none(
    settings: Settings, photo: Path, tmp_path: Path
) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(predictor(settings)) as running:
        rollout = begin(store, settings, candidate, "shadow")
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
        wait_for(lambda: len(store.rollouts.comparisons(rollout.number)) == 2)
        first = store.rollouts.comparisons(rollout.number)[0]
        assert first.live.label == first.candidate.label, "the weights are the same"
    with closing(Store.open(settings)) as store:
        assert len(store.rollouts.comparisons(rollout.number)) == 2, "explanations are no photos"


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


@pytest.mark.parametrize("table", ["shadow_comparisons", "rollout_traffic"])
def test_comparisons_are_kept_until_the_database_takes_them(
    settings: Settings, photo: Path, table: str
) -> None:
    candidate = install_candidate(settings)
    command = fake_worker("answer(usual if photo != b'bad' else {'error': 'bad'})")
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate, "shadow")
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
        assert len(store.rollouts.comparisons(rollout.number)) == 2
        counts = store.rollouts.traffic(rollout.number)
    assert sum(each.candidate for each in counts) == 3
    assert sum(each.candidate_errors for each in counts) == 1


def test_answers_are_counted_for_drift(settings: Settings, photo: Path) -> None:
    with closing(Store.open(settings)) as store:
        with closing(predictor(settings)) as running:
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
        with closing(predictor(settings)) as running:
            running.warm()
            explained = partial(running.predict, model=MODEL, saliency=True)
            ask(running, photo, "chat:1")
            asyncio.run(explained(photo.read_bytes(), client="chat:1"))
            asyncio.run(explained(drawing(1), client="chat:1"))
        (histograms,) = store.drift.between(EPOCH, EPOCH + timedelta(days=99_999)).values()
    assert sum(histograms.labels.values()) == 2


def test_garbage_collection_keeps_candidates(settings: Settings) -> None:
    candidate, other = install_candidate(settings), install_candidate(settings, "Other")
    with closing(Store.open(settings)) as store:
        begin(store, settings, candidate)
        assert Releases(settings, store).gc()[0] == [other]


def test_counts_are_stored_when_the_process_stops(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        run_both(rollouts, rollout)
        rollouts.close()
        assert store.rollouts.traffic(rollout.number) == [
            TrafficCounts(candidate=1, candidate_slow=1, live=1)
        ]


def run_both(
    rollouts: Rollouts, rollout: Rollout, *, photos: int = 1, explained: bool = False
) -> None:
    """Let both revisions answer a batch, the candidate 1,000 times slower than allowed."""
    for assigned in (False, True):
        classifier = rollouts.classifier(MODEL, client_of(rollout, assigned=assigned))
        ms = rollout.slow_ms * (1000 if assigned else 0.5)
        rollouts.on_run(classifier, photos, ms, explained=explained)


def test_explained_photos_are_no_evidence_of_slowness(settings: Settings) -> None:
    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Catalog(settings)) as catalog:
        rollout = begin(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        for _ in range(50):
            run_both(rollouts, rollout, explained=True)
        rollouts.store()
        assert store.rollouts.active() == [rollout]
        assert store.rollouts.traffic(rollout.number) == []
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
        rollout = begin(store, settings, candidate)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        apply_rollout(rollouts)
        run_both(rollouts, rollout, photos=32)
        rollouts.store()
        rollouts.close()
        counts = TrafficCounts(candidate=1, candidate_slow=1, live=1)
        assert store.rollouts.traffic(rollout.number) == [counts]
        assert store.rollouts.active() == [rollout], "one slow batch is no evidence"


def test_failed_batch_is_one_error_and_its_fallback_no_success(settings: Settings) -> None:
    candidate = install_candidate(settings)
    catalog = CatalogWithFailingCandidate(settings)
    photos = [drawing(seed) for seed in range(6)]
    with closing(Store.open(settings)) as store:
        rollout = begin(store, settings, candidate)
        inside = client_of(rollout, assigned=True)
        with closing(predictor(settings, catalog)) as running:
            running.warm()
            wait_for(lambda: len(running.rollouts()) == 1)

            async def ask_all() -> list[Prediction]:
                tasks = [running.predict(p, model=MODEL, client=inside) for p in photos]
                return await asyncio.gather(*tasks)

            answers = asyncio.run(ask_all())
        assert {each.revision for each in answers} == {rollout.live}
        assert store.rollouts.traffic(rollout.number) == [], "no run of the live revision"
