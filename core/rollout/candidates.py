"""Load the candidates of rollouts, and end rollouts whose candidate no machine can load."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from core.bundle.folder import Bundle
from core.errors import BundleError, EngineStartError, ModelNotFoundError, TenSightError
from core.inference.classifier import Classifier
from core.rollout.candidate_load import CandidateLoad
from core.rollout.ending import RolloutEnder
from core.rollout.models import Models
from core.rollout.shadow import ShadowRunner
from core.store.end_reasons import EndReason
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["Candidates"]

_MAX_FAILED_STARTS = 3

logger = logging.getLogger(__name__)


class Candidates:
    """The candidates of the active rollouts.

    That of a canary is loaded in a thread, so that the other rollouts go on meanwhile.

    Args:
        models: The models.
        ender: Ends rollouts whose candidate no machine can load.
        retry_s: Pause in seconds before a candidate is loaded again whose copy here is damaged, or
            whose process did not start or has stopped.
        run_shadow: Runs the candidate of a shadow, given the rollout and its folders.
        closed: Set when this process stops; a failure then proves nothing about the candidate.
    """

    def __init__(
        self,
        models: Models,
        ender: RolloutEnder,
        *,
        retry_s: float,
        run_shadow: Callable[..., ShadowRunner],
        closed: threading.Event,
    ) -> None:
        self._models = models
        self._ender = ender
        self._retry_s = retry_s
        self._run_shadow = run_shadow
        self._closed = closed
        self._loads: dict[str, CandidateLoad] = {}
        # By number of a rollout: when to load its candidate again, and how often in a row its
        # process has not started.
        self._retry_at: dict[int, float] = {}
        self._failed_starts: Counter[int] = Counter()
        self._missing: set[str] = set()

    def load(self, store: Store, rollout: Rollout) -> Classifier | None:
        """Begin to load the candidate of a canary, or return it if it has been loaded since.

        The canary ends if no machine can load it.

        Args:
            store: The database.
            rollout: The canary.

        Returns:
            The candidate; None while it is loading, or where it has to be loaded again later.

        Raises:
            StoreError: The database is not available.
        """
        load = self._loads.get(rollout.model)
        if load is None:
            bundle = self._find(store, rollout)
            if bundle is not None:
                load = CandidateLoad(rollout, bundle, self._models.load_candidate)
                self._loads[rollout.model] = load
            return None
        if not load.is_done:
            return None
        del self._loads[rollout.model]
        self.retry_later(rollout)
        try:
            candidate = load.result()
        except (BundleError, ModelNotFoundError) as error:
            self._on_failed_load(store, rollout, load.bundle, error)
            return None
        self._failed_starts.pop(rollout.number, None)
        return candidate

    def run_shadow(self, store: Store, rollout: Rollout) -> ShadowRunner | None:
        """Run the candidate of a shadow, which ends if no machine can load it.

        Args:
            store: The database.
            rollout: The shadow.

        Returns:
            Its runner; None where it has to be started again later.

        Raises:
            StoreError: The database is not available.
        """
        bundle = self._find(store, rollout)
        if bundle is None:
            return None
        try:
            return self._run_shadow(rollout, *self._models.folders(bundle))
        except (BundleError, ModelNotFoundError) as error:
            self._on_failed_load(store, rollout, bundle, error)
            return None

    def retry_later(self, rollout: Rollout) -> None:
        """Load the candidate of a rollout again after a pause, and not before."""
        self._retry_at[rollout.number] = time.monotonic() + self._retry_s

    def keep(self, wanted: Mapping[str, Rollout]) -> None:
        """End the processes that load candidates of rollouts that are no longer wanted.

        Args:
            wanted: The wanted rollouts, by model.
        """
        for model, load in list(self._loads.items()):
            if model not in wanted or wanted[model].number != load.rollout.number:
                self._loads.pop(model).close()

    def close(self) -> None:
        """End the processes that are loading candidates."""
        for load in self._loads.values():
            load.close()

    def _find(self, store: Store, rollout: Rollout) -> Bundle | None:
        """Open a candidate if it may be loaded now; None where it may not, or is not here.

        The rollout ends if no machine can open it.
        """
        if time.monotonic() < self._retry_at.get(rollout.number, 0.0):
            return None
        bundle: Bundle | None = None
        try:
            bundle = self._models.find_revision(rollout.model, rollout.candidate)
            if bundle is not None and bundle.revision != rollout.candidate:
                raise BundleError(f"{bundle.folder} contains {bundle.revision}.")
        except (BundleError, ModelNotFoundError) as error:
            self._on_failed_load(store, rollout, bundle, error)
            return None
        if bundle is None:
            self._log_missing(rollout)
        return bundle

    def _log_missing(self, rollout: Rollout) -> None:
        problem = (
            f"Revision {rollout.candidate} of {rollout.model} is not installed here, so its "
            f"{rollout.kind} does not run in this process. Install it with `tensight models pull`."
        )
        if problem not in self._missing:
            self._missing.add(problem)
            logger.error(problem)

    def _on_failed_load(
        self, store: Store, rollout: Rollout, bundle: Bundle | None, error: TenSightError
    ) -> None:
        """End a rollout if no machine can load its candidate; otherwise load it again later."""
        if self._closed.is_set():
            return  # whatever stops this process may have ended the candidate's
        self.retry_later(rollout)
        if isinstance(error, EngineStartError):
            self._failed_starts[rollout.number] += 1
            if self._failed_starts[rollout.number] < _MAX_FAILED_STARTS:
                logger.warning(
                    "The candidate of the %s of %s is loaded again in %g s: %s",
                    rollout.kind,
                    rollout.model,
                    self._retry_s,
                    error,
                )
                return
        if self._is_intact(rollout, bundle):
            self._ender.end(store, rollout, EndReason("not_loadable", {"error": str(error)}))
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
