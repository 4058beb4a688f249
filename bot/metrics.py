"""Prometheus metrics of the bot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from core.sockets import probe

__all__ = ["BotMetrics"]


class BotMetrics:
    """Metrics of the bot, in a registry of their own.

    Attributes:
        updates: Updates by outcome: `done`, `failed` or `later` (to be handled again).
        seconds: Latency of updates.
        waiting: Updates in the inbox.
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
