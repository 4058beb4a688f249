"""Prometheus metrics of the bot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from core.rollout.drift_result import DriftReport
from core.sockets import probe

__all__ = ["BotMetrics"]


class BotMetrics:
    """Metrics of the bot, in a registry of their own.

    Attributes:
        updates: Updates by outcome: `done`, `failed` or `later` (to be handled again).
        seconds: Latency of updates.
        waiting: Updates in the inbox.
        drift_change, drift_alarm: Drift of the last 24 hours by model, revision and statistic.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.updates = Counter(
            "tensight_bot_updates",
            "Updates by outcome: done, failed, or later (to be handled again).",
            ["outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tensight_bot_update_seconds",
            "Seconds from receiving an update to its reply.",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "tensight_bot_inbox", "Updates that have not been answered.", registry=self.registry
        )

        labels = ["model", "revision", "statistic"]
        self.drift_change = Gauge(
            "tensight_drift_change",
            "Share of the photos of the last 24 hours that differ from the 30 days before.",
            labels,
            registry=self.registry,
        )
        self.drift_validation_change = Gauge(
            "tensight_drift_validation_change",
            "Share of the photos of the last 24 hours that differ from the validation data.",
            labels,
            registry=self.registry,
        )
        self.drift_alarm = Gauge(
            "tensight_drift_alarm",
            "1 where this difference is more than chance explains, otherwise 0.",
            labels,
            registry=self.registry,
        )

    def set_drift(self, reports: Sequence[DriftReport]) -> None:
        """Export the drift of the last 24 hours, in place of that exported before.

        Statistics with too few photos to be compared are left out.
        """
        for gauge in (self.drift_change, self.drift_validation_change, self.drift_alarm):
            gauge.clear()
        for report in reports:
            for name, difference in report.month.items():
                if difference.groups:
                    labels = (report.model, report.revision, name)
                    self.drift_change.labels(*labels).set(difference.change)
                    self.drift_alarm.labels(*labels).set(difference.is_alarm)
            for name, difference in report.validation.items():
                if difference.groups:
                    labels = (report.model, report.revision, name)
                    self.drift_validation_change.labels(*labels).set(difference.change)

    @contextmanager
    def serve_metrics(self, port: int | None, host: str = "127.0.0.1") -> Iterator[None]:
        """Serve the metrics in this context.

        Args:
            port: Port to bind to; None to serve nothing.
            host: Address to bind to.

        Raises:
            ListenError: The address cannot be bound to.
        """
        if port is None:
            yield
            return
        probe(host, port)
        server, thread = start_http_server(port, host.strip("[]"), self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
