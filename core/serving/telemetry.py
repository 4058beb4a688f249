"""Metrics for Prometheus: predictions, errors, durations, queue length and live revisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.registry.taught import is_private

if TYPE_CHECKING:
    from core.rollout.active import RolloutStatus

__all__ = ["CONTENT_TYPE", "RolloutCollector", "Telemetry"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Histogram buckets in seconds, from a small photo to a passed deadline.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """An observer that records metrics in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._photos = Counter(
            "tensight_photos",
            "Number of predictions.",
            ["model", "verdict"],
            registry=self.registry,
        )
        self._errors = Counter(
            "tensight_errors",
            "Number of failed photos by error code.",
            ["code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tensight_stage_seconds",
            "Duration of decoding, of waiting in the queue, and of inference for the whole batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Record a prediction and its durations."""
        # The name of a private model is a secret: anyone who knows it may use the model.
        model = "taught" if is_private(prediction.model) else prediction.model
        self._photos.labels(model, prediction.verdict).inc()
        self._seconds.labels("decode").observe(prediction.timing_ms.decode / 1000)
        self._seconds.labels("wait").observe(waited_s)
        self._seconds.labels("infer").observe(infer_s)

    def on_error(self, error: Exception) -> None:
        """Record a failed photo."""
        code = error.code if isinstance(error, TenSightError) else "unexpected"
        self._errors.labels(code).inc()

    def watch_queue(self, waiting: Callable[[], int], size: int) -> None:
        """Export the queue's length and capacity.

        Args:
            waiting: Returns the number of photos that wait or run.
            size: Maximum of that number.
        """
        queue = Gauge(
            "tensight_queue", "Number of photos that wait or run.", registry=self.registry
        )
        queue.set_function(waiting)
        capacity = Gauge(
            "tensight_queue_size",
            "Maximum number of photos that wait or run.",
            registry=self.registry,
        )
        capacity.set(size)

    def watch_models(self, models: Callable[[], list[ModelInfo]]) -> None:
        """Export the live revision of each model."""
        self.registry.register(_Live(models))

    def watch_rollouts(
        self,
        status: Callable[[], list[RolloutStatus]],
        ends: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        """Export the shadows and canaries; arguments as those of `RolloutCollector`."""
        self.registry.register(RolloutCollector(status, ends))

    def text(self) -> bytes:
        """Render the current metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Live(Collector):
    def __init__(self, models: Callable[[], list[ModelInfo]]) -> None:
        self._models = models

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "tensight_live_revision", "1 for the live revision.", labels=["model", "revision"]
        )
        for model in self._models():
            family.add_metric([model.config.name, model.revision or ""], 1)
        return [family]


class RolloutCollector(Collector):
    """Collects the active shadows and canaries, the evidence against canaries, and their ends.

    Args:
        status: Returns the rollouts that are active in this process.
        ends: Returns how many rollouts this process has ended, by kind and outcome.
    """

    def __init__(
        self,
        status: Callable[[], list[RolloutStatus]],
        ends: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._status = status
        self._ends = ends

    def collect(self) -> list[Metric]:
        """Return the current metrics."""
        shares = GaugeMetricFamily(
            "tensight_rollout_share",
            "Share of the photos of a shadow, or of the clients of a canary.",
            labels=["model", "kind", "candidate"],
        )
        evidence = GaugeMetricFamily(
            "tensight_canary_evidence",
            "Evidence that the candidate of a canary is worse; 1 at the start.",
            labels=["model", "test"],
        )
        photos = GaugeMetricFamily(
            "tensight_shadow_photos",
            "Copies of photos since the shadow began in this process, by outcome.",
            labels=["model", "outcome"],
        )
        for each in self._status():
            model = each.rollout.model
            shares.add_metric(
                [model, each.rollout.kind, each.rollout.candidate], each.rollout.share
            )
            for test, value in each.evidence.items():
                evidence.add_metric([model, test], value)
            for outcome, n in each.photos.items():
                photos.add_metric([model, outcome], n)
        ended = CounterMetricFamily(
            "tensight_rollouts_ended",
            "Shadows and canaries that this process ended without a command.",
            labels=["kind", "outcome"],
        )
        for (kind, outcome), n in self._ends().items():
            ended.add_metric([kind, outcome], n)
        return [shares, evidence, photos, ended]
