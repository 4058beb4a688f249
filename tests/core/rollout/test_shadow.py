from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.rollout.shadow import MAX_UNSTORED, ShadowLimits, ShadowRunner
from core.settings import Settings
from core.store.rollout_evidence import Comparison, answer_digest
from core.store.rollouts import Rollout
from tests.support import drawings
from tests.support.rollouts import MODEL, fake_worker, settings_with_model
from tests.support.servers import wait_for

QUICK = ShadowLimits(answer_timeout_s=1.0, restart_s=0.01)
# A header of 60,000 bytes.
NESTED = """
sys.stdout.buffer.write(bytes([0, 0, 234, 96, 0, 0, 0, 0]) + b"[" * 60_000)
sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_with_model(tmp_path_factory.mktemp("shadow"))


@pytest.fixture(scope="module")
def live(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prediction]:
    photo = tmp_path_factory.mktemp("photo") / "ship.jpg"
    drawings.ship(320, 240).save(photo)
    with closing(Catalog(settings)) as catalog:
        yield catalog.load(MODEL).predict(photo)


@dataclass
class Collected:
    done: list[Comparison] = field(default_factory=list)
    failed: int = 0
    dropped: int = 0


def collect(running: ShadowRunner, until: Callable[[Collected], bool]) -> Collected:
    """Sum the results of a runner until a condition holds."""
    total = Collected()

    def is_reached() -> bool:
        done, failed, dropped = running.collect()
        total.done += done
        total.failed += failed
        total.dropped += dropped
        return until(total)

    wait_for(is_reached)
    return total


def shadow() -> Rollout:
    return Rollout(1, MODEL, "shadow", "new", "old", 1.0, 50.0, datetime.now(UTC))


def runner(
    settings: Settings,
    *,
    is_idle: Callable[[], bool] = lambda: True,
    limits: ShadowLimits | None = None,
    code: str | None = None,
) -> ShadowRunner:
    folder = settings.models / MODEL
    if code is None:
        return ShadowRunner(shadow(), folder, is_idle=is_idle, limits=limits)
    command = fake_worker(code)
    return ShadowRunner(shadow(), folder, is_idle=is_idle, limits=limits, command=command)


def test_candidate_answers_copies_in_its_own_process(
    settings: Settings, live: Prediction, photo: Path
) -> None:
    with closing(runner(settings)) as running:
        for i in range(2):
            # Bytes after the end of a JPEG are ignored, and make it another photo.
            assert running.offer(photo.read_bytes() + bytes(i), live)
        done = collect(running, lambda found: len(found.done) == 2).done
    assert done[0].answer == answer_digest(live.model, live.revision, live.scores)
    assert done[0].live.label == live.label
    assert done[0].candidate.ms > 0


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "os.abort()",
        "sys.stdout.buffer.write(b'x' * 99); sys.stdout.flush()",
        "sys.exit(1)",
        NESTED,
    ],
    ids=["loops for ever", "crashes", "writes nonsense", "ends", "nests deeply"],
)
def test_failing_candidate_is_counted_and_tried_again(
    settings: Settings, live: Prediction, code: str
) -> None:
    with closing(runner(settings, limits=QUICK, code=code)) as running:
        for i in range(3):
            assert running.offer(b"photo %d" % i, live), "offering never blocks"
        assert collect(running, lambda found: found.failed == 3).done == []


def test_shadow_goes_on_after_an_unexpected_error(
    settings: Settings, live: Prediction, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [RuntimeError("unexpected")]

    def is_idle() -> bool:
        if errors:
            raise errors.pop()
        return True

    with closing(runner(settings, is_idle=is_idle, limits=QUICK, code="answer(usual)")) as running:
        assert running.offer(b"first", live)
        assert running.offer(b"second", live)
        found = collect(running, lambda found: len(found.done) == 1)
        wait_for(lambda: running.waiting == 0)
    assert found.failed == 1
    assert "RuntimeError: unexpected" in caplog.text


def test_answer_is_matched_to_its_photo(
    settings: Settings, live: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Timer.start, [False, True]

    def start_or_refuse(timer: threading.Timer) -> None:
        if timer.interval == 77.0 and refused and refused.pop(0):
            raise RuntimeError("can't start new thread")
        start(timer)

    monkeypatch.setattr(threading.Timer, "start", start_or_refuse)
    # The request is sent before its answer cannot be waited for.
    limits = replace(QUICK, answer_timeout_s=77.0)
    code = "answer(usual | {'label': photo.decode()})"
    with closing(runner(settings, limits=limits, code=code)) as running:
        assert running.offer(b"first", live)
        assert running.offer(b"second", live)
        found = collect(running, lambda found: len(found.done) == 1)
    assert (found.failed, found.done[0].candidate.label) == (1, "second")


def test_copies_wait_while_visitors_wait(settings: Settings, live: Prediction) -> None:
    limits = ShadowLimits(wait_s=0.2)
    with closing(runner(settings, is_idle=lambda: False, limits=limits)) as running:
        assert running.offer(b"photo", live)
        collect(running, lambda found: found.dropped == 1)
        assert running.collect() == ([], 0, 0)


def test_copies_beyond_the_limits_are_dropped(settings: Settings, live: Prediction) -> None:
    limits = ShadowLimits(photos=2, photo_bytes=100)
    with closing(runner(settings, is_idle=lambda: False, limits=limits)) as running:
        assert running.offer(b"p" * 40, live)
        assert not running.offer(b"p" * 61, live), "too many bytes"
        assert running.offer(b"p" * 40, live)
        assert not running.offer(b"p", live), "too many photos"
        assert running.collect()[2] == 2


def test_closing_ends_a_hanging_candidate(settings: Settings, live: Prediction) -> None:
    running = runner(settings, code="time.sleep(600)")
    running.offer(b"photo", live)
    running.close()
    assert running.collect()[1] == 0, "stopping is no failure of the candidate"


def test_crashing_candidate_is_restarted_ever_less_often(
    settings: Settings, live: Prediction, caplog: pytest.LogCaptureFixture
) -> None:
    limits = ShadowLimits(restart_s=0.05, max_restart_s=0.2)
    code = "print('password=x https://me:secret@host/', file=sys.stderr); os.abort()"
    with closing(runner(settings, limits=limits, code=code)) as running:
        for i in range(5):
            running.offer(b"photo %d" % i, live)
        collect(running, lambda found: found.failed == 5)
    pauses = [float(str(r.args[3])) for r in caplog.records if isinstance(r.args, tuple)]
    assert pauses == [0.05, 0.1, 0.2, 0.2, 0.2], "bounded"
    assert "https://**********@host/" in caplog.text
    assert "secret" not in caplog.text


def test_copies_are_dropped_while_a_crashed_candidate_pauses(
    settings: Settings, live: Prediction
) -> None:
    limits = ShadowLimits(wait_s=0.2, restart_s=600.0)
    with closing(runner(settings, limits=limits, code="os.abort()")) as running:
        for i in range(3):
            running.offer(b"photo %d" % i, live)
        found = collect(running, lambda found: found.dropped == 2)
        assert found.failed == 1


@pytest.mark.parametrize(
    "refusal",
    [
        "answer({'error': 'the photo is damaged'})",
        "answer(usual | {'confidence': float('nan')})",
        "answer(usual | {'known_score': float('-inf')})",
        "answer(usual | {'verdict': 'maybe'})",
        "answer({'label': 'cat'})",
        "answer(usual | {'known_score': 10**400})",
    ],
    ids=["error", "NaN", "infinity", "verdict", "fields missing", "too large"],
)
def test_unusable_answer_counts_as_a_failure_and_keeps_the_process(
    settings: Settings, live: Prediction, refusal: str
) -> None:
    code = f"answer(usual | {{'ms': os.getpid()}}) if photo != b'bad' else {refusal}"
    with closing(runner(settings, code=code)) as running:
        for photo in (b"first", b"bad", b"last"):
            running.offer(photo, live)
        found = collect(running, lambda found: len(found.done) == 2)
    assert found.failed == 1
    assert len({each.candidate.ms for each in found.done}) == 1, "the same process"


def test_photo_that_comes_again_is_compared_once(settings: Settings, live: Prediction) -> None:
    with closing(runner(settings, code="answer(usual)")) as running:
        for photo in (b"one", b"one", b"two", b"one", b"three"):
            assert running.offer(photo, live)
        found = collect(running, lambda found: len(found.done) == 3)
        assert (found.failed, found.dropped) == (0, 0)
    assert running.collect() == ([], 0, 0)


def test_offering_does_not_wait_for_the_start_of_the_process(
    settings: Settings, live: Prediction, tmp_path: Path
) -> None:
    # Its start waits until somebody writes to a pipe.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = ("sh", "-c", f"read line < {pipe}; exec false")
    running = ShadowRunner(shadow(), settings.models, is_idle=lambda: True, command=command)
    for i in range(5):
        assert running.offer(b"photo %d" % i, live)
    running.close()


def test_comparisons_that_nobody_collects_are_bounded(settings: Settings, live: Prediction) -> None:
    limits = ShadowLimits(photos=MAX_UNSTORED + 10, wait_s=600.0)
    with closing(runner(settings, limits=limits, code="answer(usual)")) as running:
        for i in range(MAX_UNSTORED + 5):
            assert running.offer(b"photo %d" % i, live)
        assert running.offer(b"last", replace(live, revision="last"))
        found: list[Comparison] = []

        def is_done() -> bool:
            found[:] = running.collect()[0] if running.waiting == 0 else []
            return bool(found)

        wait_for(is_done)
    assert len(found) == MAX_UNSTORED
    assert found[-1].answer == answer_digest(live.model, "last", live.scores)
