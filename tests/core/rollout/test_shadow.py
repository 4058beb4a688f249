from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.rollout.shadow import ShadowLimits, ShadowRunner
from core.settings import Settings
from core.store.rollouts import Comparison, Rollout, answer_digest
from tests.support import drawings
from tests.support.rollouts import MODEL, fake_worker, settings_with_model
from tests.support.servers import wait_for

QUICK = ShadowLimits(answer_s=1.0)


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
        for _ in range(2):
            assert running.offer(photo.read_bytes(), live)
        done = collect(running, lambda found: len(found.done) == 2).done
    assert done[0].answer == answer_digest(live.model, live.revision, live.scores)
    assert done[0].live.label == live.label
    assert done[0].candidate.ms > 0


@pytest.mark.parametrize(
    "code",
    ["time.sleep(600)", "os.abort()", "sys.stdout.buffer.write(b'x' * 99)", "sys.exit(1)"],
    ids=["hangs", "crashes", "writes nonsense", "ends"],
)
def test_failing_candidate_is_counted_and_tried_again(
    settings: Settings, live: Prediction, code: str
) -> None:
    with closing(runner(settings, limits=QUICK, code=code)) as running:
        for _ in range(2):
            assert running.offer(b"photo", live), "offering never blocks"
        assert collect(running, lambda found: found.failed == 2).done == []


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
