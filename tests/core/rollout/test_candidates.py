from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.bundle.folder import Bundle
from core.errors import BundleError, EngineStartError
from core.inference.classifier import Classifier
from core.inference.isolated_engine import IsolatedEngine
from core.registry.catalog import Catalog
from core.rollout.shadow import ShadowRunner
from core.rollout.traffic import Rollouts, Timings
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.rollouts import AUTOMATIC
from core.store.store import Store
from tests.support.processes import is_running
from tests.support.rollouts import (
    MODEL,
    apply_rollout,
    begin_rollout,
    client_of,
    fake_worker,
    install_candidate,
    refresh_until,
    settings_with_model,
)
from tests.support.servers import wait_for


def test_candidate_that_no_machine_can_load_is_rolled_back(settings: Settings) -> None:
    class Unloadable(Catalog):
        def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
            raise BundleError("its operators are unknown")

    candidate = install_candidate(settings)
    with closing(Store.open(settings)) as store, closing(Unloadable(settings)) as catalog:
        begin_rollout(store, settings, candidate)
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
        rollout = begin_rollout(store, settings, candidate)
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
        begin_rollout(store, settings, candidate)
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
        canary = begin_rollout(store, settings, candidate)
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
        rollout = begin_rollout(store, settings, candidate)
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
        rollout = begin_rollout(store, settings, candidate)
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
        rollout = begin_rollout(store, settings, "0" * 12)
        rollouts = Rollouts(catalog, lambda: Store.find(settings), is_idle=lambda: True)
        rollouts.refresh()
        rollouts.refresh()
        assert rollouts.status() == []
        assert store.rollouts.active() == [rollout], "another replica may have it"
        rollouts.close()
    assert caplog.text.count("is not installed here") == 1
