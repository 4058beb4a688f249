"""Cost of a shadow to visitors: latency with and without one, in alternating rounds."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.figures import Section
from bench.photos import Photos
from core.bundle.folder import Bundle
from core.registry.catalog import Catalog
from core.rollout.shadow import ShadowLimits, ShadowRunner
from core.rollout.traffic import Rollouts, Timings
from core.serving.local import LocalPredictor
from core.store.end_reasons import BY_HAND
from core.store.rollouts import Rollout
from core.store.store import Store
from tests.support.rollouts import fake_worker, install_candidate, settings_with_model
from tests.support.servers import wait_for

__all__ = ["ShadowLoad", "shadows"]

_WITHOUT, _WITH = "no shadow", "a shadow"
# Code that the worker of a faulty shadow runs for each photo.
_FAULTS = {
    "a shadow that hangs": "time.sleep(600)",
    "a shadow in an endless loop": (
        "from core.system import become_background_worker\n"
        "become_background_worker(2**32)\n"
        "while True: pass"
    ),
    "a shadow that crashes": "os._exit(1)",
}
_KINDS = (_WITHOUT, _WITH, *_FAULTS)
_WARM_UP = 3
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class ShadowLoad:
    """Size of a measurement.

    Attributes:
        model: Model that answers, and of which another revision is the shadow.
        rounds: Number of rounds.
        photos: Photos of each kind in a round.
        pause_s: Mean of the random pauses between an answer and the next photo, in seconds.
    """

    model: str = "efficientnet"
    rounds: int = 3
    photos: int = 30
    pause_s: float = 0.1


def shadows(photos: Photos, folder: Path, load: ShadowLoad | None = None) -> Section:
    """Measure the latency of photos without a shadow, with one, and with faulty ones.

    Args:
        photos: Photos to classify.
        folder: Folder for the data of the predictor.
        load: What is measured with; None for the default.
    """
    load = load or ShadowLoad()
    section = Section(
        "Shadow",
        f"Photos of 200 kB, one after the other with random pauses of {load.pause_s:g} s on "
        f"average, classified by the model `{load.model}` in this process: {load.photos} in each "
        f"of {load.rounds} rounds without a shadow, with one of the same model on all photos, with "
        f"one that hangs until its deadline of {ShadowLimits().answer_timeout_s:g} s, asleep or in "
        "an endless loop, and with one that crashes at each photo. The rounds alternate, so that "
        "all see the same load of the machine.",
    )
    latencies = _measure(photos.typical, folder / "shadows", load)
    for kind, waits in latencies.items():
        for name, share in (("median", 0.5), ("p95", 0.95)):
            section.add(f"{kind}, {name}", float(np.quantile(waits, share)), "ms")
    for kind in _KINDS[1:]:
        for name, share in (("median", 0.5), ("p95", 0.95)):
            ratio = np.quantile(latencies[kind], share) / np.quantile(latencies[_WITHOUT], share)
            section.add(f"{kind}: {name} against none", float(ratio), "times", "at most 1.1")
    return section


def _measure(photo: Path, folder: Path, load: ShadowLoad) -> dict[str, list[float]]:
    """Return the latency of each photo in milliseconds, by kind of shadow.

    Args:
        photo: Photo to classify.
        folder: Folder to create for the data of the predictor.
        load: What is measured with.
    """
    folder.mkdir()
    settings = settings_with_model(folder, load.model)
    candidate = install_candidate(settings, model=load.model)
    catalog, runners = Catalog(settings), _Runners()
    predictor = LocalPredictor(
        catalog,
        queue_size=64,
        deadline_s=600,  # a busy machine must not end the measurement
        rollouts=lambda is_idle: Rollouts(
            catalog,
            lambda: Store.find(settings),
            is_idle=is_idle,
            timings=Timings(poll_s=0.05, store_s=0.5),
            run_shadow=runners.run,
        ),
    )
    live, content = Bundle.open(settings.models / load.model).revision, photo.read_bytes()
    latencies: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    rng = np.random.default_rng(0)
    with closing(Store.open(settings)) as store, closing(predictor):
        predictor.warm()
        classify = partial(_classify, predictor, content)
        begin = partial(store.rollouts.begin, load.model, "shadow", candidate=candidate, live=live)
        for _ in range(load.rounds):
            for kind, waits in latencies.items():
                runners.fault = _FAULTS.get(kind)
                with _active(None if kind == _WITHOUT else begin, store, predictor):
                    asyncio.run(classify([0.0] * _WARM_UP))
                    if kind == _WITH:
                        # Its process has started.
                        wait_for(lambda: bool(predictor.rollouts()[0].photos.get("compared")))
                    pauses = rng.exponential(load.pause_s, load.photos).tolist()
                    waits.extend(asyncio.run(classify(pauses)))
    return latencies


class _Runners:
    """Starts shadows that answer, or that are faulty.

    Attributes:
        fault: Code that their worker runs for each photo; None for one that answers.
    """

    fault: str | None = None

    def run(self, rollout: Rollout, *folders: Path, is_idle: Callable[[], bool]) -> ShadowRunner:
        """Start the shadow of a rollout."""
        if self.fault is None:
            return ShadowRunner(rollout, *folders, is_idle=is_idle)
        command = fake_worker(self.fault)
        return ShadowRunner(rollout, *folders, is_idle=is_idle, command=command)


@contextmanager
def _active(
    begin: Callable[..., Rollout] | None, store: Store, predictor: LocalPredictor
) -> Iterator[None]:
    """Let a shadow be active in this context."""
    rollout = None if begin is None else begin(share=1.0, slow_ms=1e6)
    if rollout is not None:
        wait_for(lambda: len(predictor.rollouts()) == 1)
    try:
        yield
    finally:
        if rollout is not None:
            store.rollouts.end(rollout.number, "stopped", BY_HAND)
            wait_for(lambda: not predictor.rollouts())


async def _classify(predictor: LocalPredictor, content: bytes, pauses: list[float]) -> list[float]:
    """Classify a photo after each pause in seconds; return the milliseconds that they took."""
    latencies = []
    for pause in pauses:
        await asyncio.sleep(pause)
        # Bytes after the end of a JPEG are ignored, but a shadow compares a photo once.
        photo = content + next(_NUMBERS).to_bytes(4)
        started = time.perf_counter()
        await predictor.predict(photo)
        latencies.append(1000 * (time.perf_counter() - started))
    return latencies
