"""Start and end rollouts on behalf of an operator."""

from __future__ import annotations

import statistics
import time
from typing import Literal

import numpy as np

from core.bundle.folder import BUNDLED, Bundle
from core.errors import ModelNotFoundError, StoreError
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.registry.catalog import Catalog
from core.registry.releases import Releases
from core.registry.trial import try_bundle
from core.store.audit import AuditEntry
from core.store.end_reasons import BY_HAND
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["MIN_SLOW_MS", "begin_rollout", "end_rollout", "format_share", "parse_share"]

_LATENCY_RUNS = 9
_SLOW_FACTOR = 2.0
# Below this, no visitor notices, and the time of a small model depends on little but the caches.
MIN_SLOW_MS = 5.0
"""Milliseconds for each photo below which no batch counts as slow."""


def begin_rollout(
    store: Store,
    catalog: Catalog,
    releases: Releases,
    *,
    model: str,
    revision: str,
    kind: Literal["shadow", "canary"],
    share: float,
    operator: str | None = None,
) -> Rollout:
    """Start a shadow or a canary of an installed revision; running servers apply it within 1 s.

    Args:
        store: The database.
        catalog: The models.
        releases: The installed revisions.
        model: Name of the model.
        revision: The candidate, or a unique prefix of it, or `bundled`.
        kind: `shadow` or `canary`.
        share: Share of the photos (shadow) or of the clients (canary) that the candidate gets: more
            than 0 and at most 1, less than 1 for a canary.
        operator: Operator for the audit log; None where the caller records the command.

    Raises:
        ModelNotFoundError: The revision is not installed, is live already, or has other labels.
        BundleError: A revision is damaged.
        StoreError: Another rollout of the model is active, another revision was promoted in the
            meantime, or the database is not available.
    """
    resolved = releases.resolve_revision(model, revision)
    bundle = catalog.bundled(model) if resolved == BUNDLED else None
    if bundle is None:
        bundle = catalog.find_revision(model, resolved)
    live, bundled = catalog.load(model), catalog.bundled(model)
    if bundle is None or bundle.revision == live.revision:
        raise ModelNotFoundError(
            f"{model} {resolved} is live already. `tensight models list` shows the revisions that "
            f"can be compared with it."
        )
    if bundle.config.labels != live.labels:
        raise ModelNotFoundError(
            f"{model} {bundle.revision} has other labels than the live revision {live.revision}, "
            "so their answers cannot be compared. Promote it under another name."
        )
    # A candidate that cannot be loaded or run is refused here.
    try_bundle(*map(Bundle.open, catalog.folders(bundle)))
    command = f"{kind} {model} {bundle.revision} {format_share(share)}"
    return store.rollouts.begin(
        model,
        kind,
        candidate=bundle.revision,
        live=live.revision,
        share=share,
        slow_ms=max(_SLOW_FACTOR * _median_latency_ms(live), MIN_SLOW_MS),
        bundled=None if bundled is None else bundled.revision,
        audit=None if operator is None else AuditEntry.now(operator, command, "began"),
    )


def end_rollout(
    store: Store,
    model: str,
    kind: Literal["shadow", "canary"],
    *,
    operator: str | None = None,
    number: int | None = None,
) -> Rollout:
    """End the active rollout of a model; the live revision answers all photos again.

    Args:
        store: The database.
        model: Name of the model.
        kind: Kind of the rollout.
        operator: As for `begin_rollout`.
        number: Number of the rollout that the operator was shown; None for whichever is active.

    Returns:
        The rollout that was ended.

    Raises:
        ChangedError: The rollout of this number has ended, or another one is active.
        StoreError: There is no such rollout, or the database is not available.
    """
    outcome: Literal["rolled_back", "stopped"] = "rolled_back" if kind == "canary" else "stopped"
    audit = None
    if operator is not None:
        audit = AuditEntry.now(operator, f"{kind} {model} --stop", "has ended")
    if number is not None:
        return store.rollouts.end_shown(number, outcome, BY_HAND, audit=audit)
    for each in store.rollouts.active():
        is_meant = (each.model, each.kind) == (model, kind)
        if is_meant and store.rollouts.end(each.number, outcome, BY_HAND, audit=audit):
            return each
    raise StoreError(
        f"There is no active {kind} of {model}. `tensight {kind}` without a model lists them."
    )


def parse_share(text: str, kind: Literal["shadow", "canary"]) -> float:
    """Parse the share of a rollout, such as `10%` or `0.1`.

    Args:
        text: The share.
        kind: A canary's share is less than 100%.

    Raises:
        ValueError: The text is not an allowed share; the message says what is.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    is_canary = kind == "canary"
    if not 0 < share <= 1 or (is_canary and share == 1):
        limit = "less than 100%" if is_canary else "at most 100%"
        raise ValueError(f"{text} is not a share of more than 0 and {limit}, such as 10%")
    return share


def format_share(share: float) -> str:
    """Format the share of a rollout as `parse_share` reads it, such as `10%` or `0.4%`."""
    return f"{100 * share:.6g}%"


def _median_latency_ms(classifier: Classifier) -> float:
    """Measure the median duration of one inference on this machine, in milliseconds."""
    spec = classifier.config.input
    crops = np.full((1, spec.height, spec.width, 3), 127, np.uint8)
    photo = PreprocessedPhoto(None, crops, 0.0)
    durations = []
    for _ in range(_LATENCY_RUNS):
        started = time.perf_counter()
        classifier.infer([photo], saliency=[False])
        durations.append(1000 * (time.perf_counter() - started))
    return statistics.median(durations)
