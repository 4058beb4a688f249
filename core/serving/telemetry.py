"""What Prometheus is told: photos by model and verdict, errors, how long things take, the queue."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.inference.prediction import Prediction

__all__ = ["CONTENT_TYPE", "Telemetry"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a model on a small photo to one that waits for a deadline, seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """An `Observer` that counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._photos = Counter(
            "tensight_photos",
            "Photos that were answered.",
            ["model", "verdict"],
            registry=self.registry,
        )
        self._errors = Counter(
            "tensight_errors",
            "Photos that got no answer, by the code of the error.",
            ["code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tensight_stage_seconds",
            "How long a photo took to decode, waited, and was in the model with those beside it.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Count an answer."""
        self._photos.labels(prediction.model, prediction.verdict).inc()
        self._seconds.labels("decode").observe(prediction.timing_ms.decode / 1000)
        self._seconds.labels("wait").observe(waited_s)
        self._seconds.labels("infer").observe(infer_s)

    def on_error(self, error: Exception) -> None:
        """Count a photo that got no answer."""
        code = error.code if isinstance(error, TenSightError) else "unexpected"
        self._errors.labels(code).inc()

    def watch_queue(self, waiting: Callable[[], int], size: int) -> None:
        """Also tell how many photos wait or run, and how many may."""
        queue = Gauge(
            "tensight_queue", "Photos that wait or are being answered.", registry=self.registry
        )
        queue.set_function(waiting)
        most = Gauge(
            "tensight_queue_size", "How many of them there may be.", registry=self.registry
        )
        most.set(size)

    def watch_models(self, models: Callable[[], list[ModelInfo]]) -> None:
        """Also tell which revision of each model is live."""
        self.registry.register(_Live(models))

    def text(self) -> bytes:
        """What is known now, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Live(Collector):
    def __init__(self, models: Callable[[], list[ModelInfo]]) -> None:
        self._models = models

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "tensight_live_revision", "1 for the live revision.", labels=["model", "revision"]
        )
        for result in self._models():
            family.add_metric([result.config.name, result.revision or ""], 1)
        return [family]
