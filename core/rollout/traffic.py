"""Apply the active rollouts of a serving process: route clients, and count the outcomes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from core.errors import EngineStoppedError, StoreError, TenSightError
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.rollout.active import ActiveRollout, RolloutStatus
from core.rollout.answer_counts import AnswerCounts
from core.rollout.assignment import is_assigned, is_sampled
from core.rollout.candidates import Candidates
from core.rollout.ending import RolloutEnder
from core.rollout.evidence import canary_evidence
from core.rollout.models import Models
from core.rollout.run_pairs import Run
from core.rollout.shadow import ShadowRunner
from core.store.end_reasons import EndReason
from core.store.rollout_evidence import answer_digest
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["Rollouts", "Timings"]

logger = logging.getLogger(__name__)

_MAX_ENDED = 16
_MAX_STOPS = 2


@dataclass(frozen=True)
class Timings:
    """Intervals of the rollouts, in seconds.

    Attributes:
        poll_s: Interval of reading the active rollouts.
        store_s: Interval of storing counts, and of evaluating the evidence.
        retry_s: Pause before a candidate is loaded again whose copy here is damaged, or whose
            process did not start or has stopped.
    """

    poll_s: float = 1.0
    store_s: float = 10.0
    retry_s: float = 60.0


class Rollouts:
    """Applies the active rollouts of the database, and stores counts of their outcomes.

    A thread reads the active rollouts, so that photos never wait for the database. Where the
    database is not available, the last known rollouts continue. Each candidate of a canary is
    loaded in a further thread, so that the other rollouts go on meanwhile.

    Args:
        models: The models.
        open_store: Returns the database; None where there is none yet.
        is_idle: Returns whether no photo of a visitor waits or runs.
        timings: Intervals.
        run_shadow: Runs the candidate of a shadow; arguments as those of `ShadowRunner`.
    """

    def __init__(
        self,
        models: Models,
        open_store: Callable[[], Store | None],
        *,
        is_idle: Callable[[], bool],
        timings: Timings | None = None,
        run_shadow: Callable[..., ShadowRunner] = ShadowRunner,
    ) -> None:
        self._models = models
        self._open_store = open_store
        self._timings = timings or Timings()
        self._closed = threading.Event()
        self._answers = AnswerCounts()
        self._ender = RolloutEnder(models)
        self._candidates = Candidates(
            models,
            self._ender,
            retry_s=self._timings.retry_s,
            run_shadow=partial(run_shadow, is_idle=is_idle),
            closed=self._closed,
        )
        self._store: Store | None = None
        self._active: dict[str, ActiveRollout] = {}
        # Rollouts that have ended while the database was not available for their last counts.
        self._ended: deque[ActiveRollout] = deque(maxlen=_MAX_ENDED)
        self._thread: threading.Thread | None = None
        self._logged: set[str] = set()

    def start(self) -> None:
        """Start the thread that applies rollouts, until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Store the last counts, and stop."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._candidates.close()
        if self._active or self._ended or not self._answers.is_empty:
            with suppress(StoreError):
                self.store()
        for active in self._active.values():
            active.close()
        if self._store is not None:
            self._store.close()

    def classifier(self, model: str | None, client: str | None) -> Classifier:
        """Return the classifier that answers a client: the candidate of a canary, or the live one.

        Args:
            model: Name of the model; None for the default model.
            client: Key of the client; None for a trusted caller, who always gets the live revision.

        Raises:
            TenSightError: As in `Catalog.load`.
        """
        if self._active and client is not None:
            active = self._active.get(model or self._models.default())
            if (
                active is not None
                and active.candidate is not None
                and active.stopped is None
                and is_assigned(active.rollout, client)
            ):
                return active.candidate
        return self._models.load(model)

    def on_run(
        self, classifier: Classifier, photos: int, infer_ms: float, *, explained: bool
    ) -> None:
        """Count a run of a model as evidence about the canary that it belongs to, if any.

        Args:
            classifier: The classifier that ran.
            photos: Number of photos that it answered.
            infer_ms: Milliseconds of inference for each photo.
            explained: Whether the photos were explained too; such a run is not counted, since
                `Rollout.slow_ms` was measured without explanations.
        """
        active = self._active.get(classifier.name)
        if active is not None and not explained:
            active.count_run(classifier, Run(slow=infer_ms > active.rollout.slow_ms), photos)

    def on_failed_run(
        self, classifier: Classifier, photos: int, error: Exception, *, explained: bool
    ) -> Classifier | None:
        """Count a failed run, and return the live classifier that can answer its photos.

        The answers of that classifier must not be counted as a run of the live revision.

        Args:
            classifier: The classifier that failed.
            photos: Number of photos that it was given.
            error: Its error.
            explained: As for `on_run`.

        Returns:
            The live classifier, whose input may differ; None where it is the one that failed.
        """
        active = self._active.get(classifier.name)
        if active is not None and active.rollout.kind == "canary":
            # Batches that wait for an engine while it stops do not count as further failures.
            is_late = isinstance(error, EngineStoppedError) and (
                active.stopped is not None or classifier is not active.candidate
            )
            if not explained and not is_late:
                active.count_run(classifier, Run(failed=True), photos)
            if classifier.revision == active.rollout.candidate and not is_late:
                self._note_failure(active, error)
        try:
            live = self._models.load(classifier.name)
        except TenSightError:
            return None
        # A rollout may have ended while photos waited for its candidate.
        return live if live.revision != classifier.revision else None

    def wants_photo(self, classifier: Classifier, *, explained: bool) -> bool:
        """Return whether the file of a photo is to be kept until it is answered.

        A shadow answers it, too; or the live revision has to preprocess it if the candidate of a
        canary fails, since their inputs differ.

        Args:
            classifier: The classifier that will answer it.
            explained: Whether it is explained, too. A shadow does not answer such a photo: its time
                is not comparable.
        """
        active = self._active.get(classifier.name)
        if active is None:
            return False
        if active.shadow is not None:
            return not explained
        if classifier is not active.candidate:
            return False
        try:
            return self._models.load(classifier.name).config.input != classifier.config.input
        except TenSightError:
            return False

    def on_answer(self, prediction: Prediction, photo: bytes | None) -> None:
        """Count an answer for drift, and offer its photo to the shadow of its model.

        The explanation of a photo that this process answered before does not count again.

        Args:
            prediction: The answer.
            photo: The photo's file if `wants_photo` was true; otherwise None.
        """
        active = self._active.get(prediction.model)
        digest = answer_digest(prediction.model, prediction.revision, prediction.scores)
        self._answers.add(prediction, digest)
        if active is None or active.shadow is None or photo is None:
            return
        rollout = active.rollout
        if prediction.revision == rollout.live and is_sampled(rollout, digest):
            active.shadow.offer(photo, prediction)

    def status(self) -> list[RolloutStatus]:
        """Return the rollouts that this process applies."""
        return [each.status for each in list(self._active.values())]

    def ends(self) -> dict[tuple[str, str], int]:
        """Return how many rollouts this process has ended, by kind and outcome."""
        return self._ender.counts

    def refresh(self) -> None:
        """Read the active rollouts and apply them.

        Raises:
            StoreError: The database is not available.
        """
        store = self._find_store()
        if store is None:
            return
        wanted = {each.model: each for each in store.rollouts.active()}
        for rollout in self._ender.end_superseded(store, wanted.values()):
            del wanted[rollout.model]
        for model, active in list(self._active.items()):
            has_stopped = active.stopped is not None and active.stops >= _MAX_STOPS
            if has_stopped and not self._closed.is_set():
                reason = EndReason("stopped", {"error": str(active.stopped)})
                self._ender.end(store, active.rollout, reason)
                wanted.pop(model, None)
            if model not in wanted or wanted[model].number != active.rollout.number:
                self._discard(model)
        self._candidates.keep(wanted)
        for rollout in wanted.values():
            self._apply(store, rollout)

    def store(self) -> None:
        """Store what was counted, and roll back canaries that are worse beyond chance.

        Raises:
            StoreError: The database is not available; what was counted is kept.
        """
        store = self._find_store()
        if store is None:
            return
        self._answers.store(store.drift)
        while self._ended:
            self._ended[0].store(store.rollout_evidence)
            self._ended.popleft()
        for active in list(self._active.values()):
            active.store(store.rollout_evidence)
            if active.candidate is not None:
                self._evaluate_canary(store, active, active.candidate)

    def _run(self) -> None:
        stored = time.monotonic()
        while not self._closed.wait(self._timings.poll_s):
            try:
                self.refresh()
                if time.monotonic() - stored >= self._timings.store_s:
                    stored = time.monotonic()
                    self._try_to_store()
            except StoreError as error:
                # Not an error here: the catalog already reports an unavailable database.
                logger.debug("The rollouts were not read: %s", error)
            except Exception:
                # One failure must not end all rollouts of this process.
                logger.exception("The rollouts were not refreshed")

    def _try_to_store(self) -> None:
        try:
            self.store()
        except StoreError as error:
            problem = f"The evidence of rollouts was not stored: {error}"
            if problem not in self._logged:
                self._logged.add(problem)
                logger.error(problem)

    def _note_failure(self, active: ActiveRollout, error: Exception) -> None:
        """Report the first failure of a canary's candidate; load it again if it has stopped.

        One stop does not prove a fault: a pause of the whole machine ends an engine, too.
        """
        if isinstance(error, EngineStoppedError):
            self._candidates.retry_later(active.rollout)
            active.note_stop(str(error))
        if not active.has_failed:
            active.has_failed = True
            name = f"{active.rollout.model} {active.rollout.candidate}"
            self._models.report(f"The canary {name} failed, so the live revision answered: {error}")

    def _find_store(self) -> Store | None:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _apply(self, store: Store, rollout: Rollout) -> None:
        """Let a rollout run whose candidate does not run yet, or has stopped."""
        active = self._active.get(rollout.model)
        if active is not None and active.stopped is None:
            return
        if rollout.kind == "shadow":
            shadow = self._candidates.run_shadow(store, rollout)
            if shadow is not None:
                self._active[rollout.model] = ActiveRollout(rollout, shadow)
            return
        candidate = self._candidates.load(store, rollout)
        if candidate is not None:
            self._active.setdefault(rollout.model, ActiveRollout(rollout)).use(candidate)

    def _discard(self, model: str) -> None:
        """Stop applying a rollout that has ended; its last counts are stored later."""
        active = self._active.pop(model, None)
        if active is None:
            return
        active.close()
        self._ended.append(active)

    def _evaluate_canary(self, store: Store, active: ActiveRollout, candidate: Classifier) -> None:
        rollout = active.rollout
        evidence = canary_evidence(store.rollout_evidence, rollout, candidate.labels)
        active.evidence = {each.test: each.evidence for each in evidence.tests}
        if (alarm := evidence.alarm) is not None:
            self._ender.end(store, rollout, alarm.reason())
            self._discard(rollout.model)
