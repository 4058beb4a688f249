"""The rollouts of a serving process: route clients to candidates, and count the outcomes."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.bundle.folder import BUNDLED, Bundle
from core.errors import (
    BundleError,
    EngineStartError,
    EngineStoppedError,
    ModelNotFoundError,
    StoreError,
    TenSightError,
)
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.message_process import MessageProcess
from core.registry.taught import is_private
from core.rollout.candidate_load import CandidateLoad
from core.rollout.evidence import canary_evidence
from core.rollout.run_pairs import Run, RunPairs
from core.rollout.shadow import MAX_UNSTORED, ShadowRunner
from core.store.audit import AuditEntry
from core.store.drift import AnswerHistograms
from core.store.end_reasons import EndReason
from core.store.feedback import NONE
from core.store.rollouts import (
    AUTOMATIC,
    Comparison,
    Outcome,
    Rollout,
    TrafficCounts,
    answer_digest,
)
from core.store.store import Store

__all__ = [
    "CONFIDENCE_BIN_WIDTH",
    "SCORE_BIN_WIDTH",
    "RolloutStatus",
    "Rollouts",
    "Timings",
    "confidence_bin",
    "is_assigned",
]

logger = logging.getLogger(__name__)

_CONFIDENCE_BINS = 15  # as in the reliability diagrams of metrics.json
_SCORE_BINS = 16  # for each unit of the known score
_MAX_SCORE = 64.0
_MAX_ENDED = 16
_MAX_FAILED_STARTS = 3
_MAX_STOPS = 2
_MAX_LATEST = 1000
_OWN_ENDS: tuple[tuple[str, Outcome], ...] = (
    *(("canary", "rolled_back"), ("canary", "superseded")),
    *(("shadow", "stopped"), ("shadow", "superseded")),
)

CONFIDENCE_BIN_WIDTH = 1 / _CONFIDENCE_BINS
"""Width of a bin of the stored confidences."""

SCORE_BIN_WIDTH = 1 / _SCORE_BINS
"""Width of a bin of the stored known scores."""


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


class Models(Protocol):
    """The part of `Catalog` that rollouts need."""

    def load(self, name: str | None = None) -> Classifier:
        """Return the classifier of a model's live revision."""

    def default(self) -> str:
        """Return the name of the default model."""

    def bundled(self, name: str) -> Bundle | None:
        """Open the bundled revision of a model; None where there is none."""

    def find_revision(self, name: str, revision: str) -> Bundle | None:
        """Open an installed or bundled revision; None where it is not installed."""

    def folders(self, bundle: Bundle) -> list[Path]:
        """Return the model folder of a bundle, and that of its base where it has one."""

    def load_candidate(
        self, bundle: Bundle, *, on_start: Callable[[MessageProcess], object]
    ) -> Classifier:
        """Load a classifier that may crash or hang without harm to this process."""

    def report(self, problem: str) -> None:
        """Log a problem and tell the operators, once."""


@dataclass(frozen=True)
class RolloutStatus:
    """An active rollout as this process sees it.

    Attributes:
        rollout: The rollout.
        evidence: Evidence against the candidate of a canary, by test.
        photos: Copies of photos of a shadow in this process: `compared`, `failed`, `dropped`.
    """

    rollout: Rollout
    evidence: dict[str, float]
    photos: dict[str, int]


@dataclass
class _Active:
    """An active rollout of this process.

    Attributes:
        rollout: The rollout.
        candidate: The candidate's classifier, for a canary.
        shadow: The runner of a shadow.
        pairs: Runs of a canary that wait for one to be compared with.
        has_failed: Whether the candidate of a canary has failed, which is reported once.
        stopped: Reason for which its engine has stopped; None while it runs.
        stops: How often its engine has stopped.
        counts: Counts that are not stored yet, by name of the field of `TrafficCounts`.
        comparisons: Comparisons of a shadow that are not stored yet; the oldest ones are dropped.
        evidence, photos: See `RolloutStatus`.
    """

    rollout: Rollout
    candidate: Classifier | None = None
    shadow: ShadowRunner | None = None
    pairs: RunPairs = field(default_factory=RunPairs)
    has_failed: bool = False
    stopped: str | None = None
    stops: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    comparisons: deque[Comparison] = field(default_factory=lambda: deque(maxlen=MAX_UNSTORED))
    evidence: dict[str, float] = field(default_factory=dict)
    photos: Counter[str] = field(default_factory=Counter)


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
        self._run_shadow = run_shadow
        self._open_store = open_store
        self._is_idle = is_idle
        self._timings = timings or Timings()
        self._store: Store | None = None
        self._active: dict[str, _Active] = {}
        self._loads: dict[str, CandidateLoad] = {}
        # Rollouts that have ended while the database was not available for their last counts.
        self._ended: deque[_Active] = deque(maxlen=_MAX_ENDED)
        # By number of a rollout: when to load its candidate again, and how often in a row its
        # process has not started.
        self._retry_at: dict[int, float] = {}
        self._failed_starts: Counter[int] = Counter()
        self._histograms: dict[tuple[str, str], AnswerHistograms] = {}
        # Digests of the latest answers, the oldest one first.
        self._latest: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        # By kind and outcome, from zero: Prometheus does not notice a counter that begins with one.
        self._ends: Counter[tuple[str, str]] = Counter(dict.fromkeys(_OWN_ENDS, 0))
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
        for load in self._loads.values():
            load.close()
        if self._active or self._ended or self._histograms:
            with suppress(StoreError):
                self.store()
        for active in self._active.values():
            if active.shadow is not None:
                active.shadow.close()
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
            self._count_run(active, classifier, Run(slow=infer_ms > active.rollout.slow_ms), photos)

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
                self._count_run(active, classifier, Run(failed=True), photos)
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
        with self._lock:
            is_explanation = prediction.saliency is not None and digest in self._latest
            self._latest[digest] = None
            if len(self._latest) > _MAX_LATEST:
                self._latest.popitem(last=False)
            key = prediction.model, prediction.revision
            if not is_explanation and not is_private(prediction.model):
                _count(self._histograms.setdefault(key, AnswerHistograms()), prediction)
        if active is None or active.shadow is None or photo is None:
            return
        rollout = active.rollout
        if prediction.revision == rollout.live and _is_sampled(rollout, digest):
            active.shadow.offer(photo, prediction)

    def status(self) -> list[RolloutStatus]:
        """Return the rollouts that this process applies."""
        return [
            RolloutStatus(each.rollout, dict(each.evidence), dict(each.photos))
            for each in list(self._active.values())
        ]

    def ends(self) -> dict[tuple[str, str], int]:
        """Return how many rollouts this process has ended, by kind and outcome."""
        return dict(self._ends)

    def refresh(self) -> None:
        """Read the active rollouts and apply them.

        Raises:
            StoreError: The database is not available.
        """
        store = self._find_store()
        if store is None:
            return
        wanted = {each.model: each for each in store.rollouts.active()}
        for rollout in self._end_superseded(store, wanted.values()):
            del wanted[rollout.model]
        for model, active in list(self._active.items()):
            has_stopped = active.stopped is not None and active.stops >= _MAX_STOPS
            if has_stopped and not self._closed.is_set():
                self._end_rollout(
                    store, active.rollout, EndReason("stopped", {"error": str(active.stopped)})
                )
                wanted.pop(model, None)
            if model not in wanted or wanted[model].number != active.rollout.number:
                self._discard(model)
        for model, load in list(self._loads.items()):
            if model not in wanted or wanted[model].number != load.rollout.number:
                self._loads.pop(model).close()
            elif load.is_done:
                del wanted[model]
                self._finish_load(store, self._loads.pop(model))
        for model, rollout in wanted.items():
            current = self._active.get(model)
            is_wanted = current is None or current.stopped is not None
            is_due = time.monotonic() >= self._retry_at.get(rollout.number, 0.0)
            if is_wanted and model not in self._loads and is_due:
                self._start_rollout(store, rollout)

    def store(self) -> None:
        """Store what was counted, and roll back canaries that are worse beyond chance.

        Raises:
            StoreError: The database is not available; what was counted is kept.
        """
        store = self._find_store()
        if store is None:
            return
        with self._lock:
            histograms, self._histograms = self._histograms, {}
        if histograms:
            try:
                store.drift.add(histograms)
            except StoreError:
                with self._lock:
                    for key, counted in histograms.items():
                        self._histograms.setdefault(key, AnswerHistograms()).add(counted)
                raise
        while self._ended:
            self._store_counts(store, self._ended[0])
            self._ended.popleft()
        for active in list(self._active.values()):
            self._store_counts(store, active)
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
            self._log_once(f"The evidence of rollouts was not stored: {error}")

    def _count_run(self, active: _Active, classifier: Classifier, run: Run, photos: int) -> None:
        rollout = active.rollout
        if rollout.kind != "canary":
            return
        with self._lock:
            if classifier.revision == rollout.candidate:
                active.counts.update(active.pairs.add("candidate", run, photos))
            elif classifier.revision == rollout.live:
                active.counts.update(active.pairs.add("live", run, photos))

    def _note_failure(self, active: _Active, error: Exception) -> None:
        """Report the first failure of a canary's candidate; load it again if it has stopped.

        One stop does not prove a fault: a pause of the whole machine ends an engine, too.
        """
        if isinstance(error, EngineStoppedError):
            self._retry_at[active.rollout.number] = time.monotonic() + self._timings.retry_s
            active.stops += 1
            active.stopped = str(error)  # at last: `refresh` acts on it
        if not active.has_failed:
            active.has_failed = True
            name = f"{active.rollout.model} {active.rollout.candidate}"
            self._models.report(f"The canary {name} failed, so the live revision answered: {error}")

    def _find_store(self) -> Store | None:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _end_superseded(self, store: Store, active: Collection[Rollout]) -> list[Rollout]:
        """End the rollouts whose live revision is no longer live, and return them.

        A promotion ends them in its own transaction; an upgrade changes the bundled revision.
        """
        ended, promoted = [], store.live.all() if active else {}
        for rollout in active:
            row = promoted.get(rollout.model)
            live = BUNDLED if row is None else row.revision
            if live == BUNDLED:
                live = self._bundled_revision(rollout.model) or rollout.live
            if live != rollout.live:
                reason = EndReason("other_live", {"live": live, "compared": rollout.live})
                self._end_rollout(store, rollout, reason, outcome="superseded")
                ended.append(rollout)
        return ended

    def _bundled_revision(self, model: str) -> str | None:
        """Return the revision of a bundled model; None where none can be read."""
        try:
            bundled = self._models.bundled(model)
        except BundleError:
            return None
        return None if bundled is None else bundled.revision

    def _start_rollout(self, store: Store, rollout: Rollout) -> None:
        """Begin to load the candidate of a canary, or run that of a shadow.

        The rollout ends if no machine can load it.
        """
        bundle: Bundle | None = None
        try:
            bundle = self._models.find_revision(rollout.model, rollout.candidate)
            if bundle is None:
                self._log_once(
                    f"Revision {rollout.candidate} of {rollout.model} is not installed here, so "
                    f"its {rollout.kind} does not run in this process. Install it with `tensight "
                    "models pull`."
                )
                return
            if bundle.revision != rollout.candidate:
                raise BundleError(f"{bundle.folder} contains {bundle.revision}.")
            if rollout.kind == "canary":
                load = CandidateLoad(rollout, bundle, self._models.load_candidate)
                self._loads[rollout.model] = load
            else:
                shadow = self._run_shadow(
                    rollout, *self._models.folders(bundle), is_idle=self._is_idle
                )
                self._active[rollout.model] = _Active(rollout, shadow=shadow)
        except (BundleError, ModelNotFoundError) as error:
            self._on_failed_load(store, rollout, bundle, error)

    def _finish_load(self, store: Store, load: CandidateLoad) -> None:
        """Let the candidate of a canary answer once it is loaded."""
        rollout = load.rollout
        self._retry_at[rollout.number] = time.monotonic() + self._timings.retry_s
        try:
            candidate = load.result()
        except (BundleError, ModelNotFoundError) as error:
            self._on_failed_load(store, rollout, load.bundle, error)
            return
        self._failed_starts.pop(rollout.number, None)
        active = self._active.setdefault(rollout.model, _Active(rollout))
        active.candidate = candidate
        active.stopped = None  # at last: from now on it answers

    def _on_failed_load(
        self, store: Store, rollout: Rollout, bundle: Bundle | None, error: TenSightError
    ) -> None:
        """End a rollout if no machine can load its candidate; otherwise load it again later."""
        if self._closed.is_set():
            return  # whatever stops this process may have ended the candidate's
        self._retry_at[rollout.number] = time.monotonic() + self._timings.retry_s
        if isinstance(error, EngineStartError):
            self._failed_starts[rollout.number] += 1
            if self._failed_starts[rollout.number] < _MAX_FAILED_STARTS:
                logger.warning(
                    "The candidate of the %s of %s is loaded again in %g s: %s",
                    rollout.kind,
                    rollout.model,
                    self._timings.retry_s,
                    error,
                )
                return
        if self._is_intact(rollout, bundle):
            self._end_rollout(store, rollout, EndReason("not_loadable", {"error": str(error)}))
            return
        self._models.report(
            f"The {rollout.kind} of {rollout.model} {rollout.candidate} does not run in this "
            f"process, as its copy of the candidate is damaged or incomplete: {error} Delete "
            "the copy and install it again with `tensight models pull`."
        )

    def _is_intact(self, rollout: Rollout, bundle: Bundle | None) -> bool:
        """Return whether the files of a candidate and its base match their revisions.

        If they do, no machine can load the candidate; otherwise this machine has a damaged copy.
        """
        try:
            if bundle is None or bundle.revision != rollout.candidate:
                return False
            for folder in self._models.folders(bundle):
                Bundle.open(folder).verify()
        except BundleError:
            return False
        return True

    def _discard(self, model: str) -> None:
        """Stop applying a rollout that has ended; its last counts are stored later."""
        active = self._active.pop(model, None)
        if active is None:
            return
        if active.shadow is not None:
            active.shadow.close()
        self._ended.append(active)

    def _store_counts(self, store: Store, active: _Active) -> None:
        """Store what was counted for a rollout; what cannot be stored is kept.

        Raises:
            StoreError: The database is not available.
        """
        if active.shadow is not None:
            done, failed, dropped = active.shadow.collect()
            active.comparisons.extend(done)
            active.photos.update(compared=len(done), failed=failed, dropped=dropped)
            if n := len(done) + failed:
                active.counts.update(candidate=n, candidate_errors=failed, live=n)
        if active.comparisons:
            store.rollouts.add_comparisons(active.rollout.number, list(active.comparisons))
            active.comparisons.clear()
        with self._lock:
            counted, active.counts = active.counts, Counter()
        if not counted:
            return
        try:
            store.rollouts.add_traffic(active.rollout.number, TrafficCounts(**counted))
        except StoreError:
            with self._lock:
                active.counts.update(counted)
            raise

    def _evaluate_canary(self, store: Store, active: _Active, candidate: Classifier) -> None:
        rollout = active.rollout
        evidence = canary_evidence(store.rollouts, rollout, candidate.labels)
        active.evidence = {each.test: each.evidence for each in evidence.tests}
        if (alarm := evidence.alarm) is not None:
            self._end_rollout(store, rollout, alarm.reason())
            self._discard(rollout.model)

    def _end_rollout(
        self, store: Store, rollout: Rollout, reason: EndReason, *, outcome: Outcome | None = None
    ) -> None:
        """End a rollout; by default it failed."""
        name = f"{rollout.kind} {rollout.model} {rollout.candidate}"
        if outcome is None:
            outcome = "rolled_back" if rollout.kind == "canary" else "stopped"
        audit = AuditEntry.now(AUTOMATIC, name, str(reason), reason)
        # A bot that shares the database tells the operators.
        if store.rollouts.end(rollout.number, outcome, reason, audit=audit):
            self._ends[rollout.kind, outcome] += 1
            logger.error("The %s was ended: %s", name, reason)

    def _log_once(self, problem: str) -> None:
        if problem not in self._logged:
            self._logged.add(problem)
            logger.error(problem)


def is_assigned(rollout: Rollout, client: str) -> bool:
    """Return whether a canary answers a client; equal in every process throughout the rollout.

    Args:
        rollout: The canary.
        client: Key of the client.
    """
    return _hash_fraction(rollout, client.encode()) < rollout.share


def _is_sampled(rollout: Rollout, digest: str) -> bool:
    """Return whether a shadow answers a photo, by the digest of the live answer to it."""
    return _hash_fraction(rollout, digest.encode()) < rollout.share


def _hash_fraction(rollout: Rollout, text: bytes) -> float:
    """Hash a text to a number in [0, 1), with the rollout as the key."""
    key = f"{rollout.model} {rollout.candidate} {rollout.began_at.isoformat()}".encode()
    digest = hashlib.blake2b(text, key=hashlib.sha256(key).digest(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def confidence_bin(confidence: float) -> str:
    """Return the name of the bin of a confidence, 0 to 1: its lower bound."""
    # Names of bins are rounded lower bounds: the tolerance keeps each of them in its own bin.
    index = min(math.floor(confidence * _CONFIDENCE_BINS + 5e-4), _CONFIDENCE_BINS - 1)
    return f"{index / _CONFIDENCE_BINS:.3f}"


def _count(histograms: AnswerHistograms, prediction: Prediction) -> None:
    label = NONE if prediction.verdict == NONE else prediction.label
    histograms.labels[label] += 1
    score = min(max(prediction.known_score, -_MAX_SCORE), _MAX_SCORE)
    histograms.known_scores[f"{math.floor(score * _SCORE_BINS) / _SCORE_BINS:g}"] += 1
    histograms.confidences[confidence_bin(prediction.confidence)] += 1
