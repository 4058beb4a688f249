"""Loading of a candidate in a thread."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.rollout.candidate_load import CandidateLoad
from core.store.rollouts import Rollout
from tests.conftest import ROOT

BUNDLE = Bundle.open(ROOT / "models" / "classic")
CANARY = Rollout(1, "classic", "canary", "2" * 12, "1" * 12, 0.1, 9.0, datetime.now(UTC))


class FakeProcess:
    """A worker process that loads until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_loaded_candidate_is_the_result() -> None:
    given: list[Bundle] = []
    classifier: Any = object()

    def loads(bundle: Bundle, on_start: Any) -> Any:
        given.append(bundle)
        return classifier

    load = CandidateLoad(CANARY, BUNDLE, loads)
    assert load.result() is classifier
    assert given == [BUNDLE]
    assert load.is_done
    load.close()


def test_error_of_loading_is_raised_to_whoever_takes_the_result() -> None:
    def fail(bundle: Bundle, on_start: Any) -> Any:
        raise BundleError("its operators are unknown")

    load = CandidateLoad(CANARY, BUNDLE, fail)
    with pytest.raises(BundleError, match="operators are unknown"):
        load.result()
    load.close()


def test_close_ends_the_process_that_loads() -> None:
    process, starts = FakeProcess(), threading.Event()

    def hang(bundle: Bundle, on_start: Any) -> Any:
        on_start(process)
        starts.set()
        process.closed.wait()
        raise BundleError("it was ended")

    load = CandidateLoad(CANARY, BUNDLE, hang)
    starts.wait()
    assert not load.is_done
    load.close()
    assert load.is_done


def test_process_that_starts_after_close_is_ended_at_once() -> None:
    process, closing = FakeProcess(), threading.Event()

    def start_late(bundle: Bundle, on_start: Any) -> Any:
        closing.wait()
        on_start(process)
        process.closed.wait()
        raise BundleError("it was ended")

    load = CandidateLoad(CANARY, BUNDLE, start_late)
    threading.Timer(0.05, closing.set).start()
    load.close()
    assert process.closed.is_set()
