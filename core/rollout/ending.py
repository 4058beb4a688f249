"""End rollouts without an operator, and count how they ended."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection

from core.bundle.folder import BUNDLED
from core.errors import BundleError
from core.rollout.models import Models
from core.store.audit import AuditEntry
from core.store.end_reasons import EndReason
from core.store.rollouts import AUTOMATIC, Outcome, Rollout
from core.store.store import Store

__all__ = ["RolloutEnder"]

_ENDS: tuple[tuple[str, Outcome], ...] = (
    *(("canary", "rolled_back"), ("canary", "superseded")),
    *(("shadow", "stopped"), ("shadow", "superseded")),
)

logger = logging.getLogger(__name__)


class RolloutEnder:
    """Ends rollouts in the database; whoever applies them notices at the next reading.

    Args:
        models: The models.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        # By kind and outcome, from zero: Prometheus does not notice a counter that begins with one.
        self._ends: Counter[tuple[str, str]] = Counter(dict.fromkeys(_ENDS, 0))

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Return the number of rollouts that this process has ended, by kind and outcome."""
        return dict(self._ends)

    def end(
        self, store: Store, rollout: Rollout, reason: EndReason, *, outcome: Outcome | None = None
    ) -> None:
        """End a rollout; by default it failed.

        Args:
            store: The database.
            rollout: The rollout; it may have ended meanwhile.
            reason: Why it ends.
            outcome: Its outcome; None for that of a failure.

        Raises:
            StoreError: The database is not available.
        """
        name = f"{rollout.kind} {rollout.model} {rollout.candidate}"
        if outcome is None:
            outcome = "rolled_back" if rollout.kind == "canary" else "stopped"
        audit = AuditEntry.now(AUTOMATIC, name, str(reason), reason)
        # A bot that shares the database tells the operators.
        if store.rollouts.end(rollout.number, outcome, reason, audit=audit):
            self._ends[rollout.kind, outcome] += 1
            logger.error("The %s was ended: %s", name, reason)

    def end_superseded(self, store: Store, active: Collection[Rollout]) -> list[Rollout]:
        """End the rollouts whose live revision is no longer live, and return them.

        A promotion ends them in its own transaction; an upgrade changes the bundled revision.

        Args:
            store: The database.
            active: The active rollouts.

        Raises:
            StoreError: The database is not available.
        """
        ended, promoted = [], store.live.all() if active else {}
        for rollout in active:
            row = promoted.get(rollout.model)
            live = BUNDLED if row is None else row.revision
            if live == BUNDLED:
                live = self._bundled_revision(rollout.model) or rollout.live
            if live != rollout.live:
                reason = EndReason("other_live", {"live": live, "compared": rollout.live})
                self.end(store, rollout, reason, outcome="superseded")
                ended.append(rollout)
        return ended

    def _bundled_revision(self, model: str) -> str | None:
        """Return the revision of a bundled model; None where none can be read."""
        try:
            bundled = self._models.bundled(model)
        except BundleError:
            return None
        return None if bundled is None else bundled.revision
