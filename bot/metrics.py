"""Prometheus metrics of the bot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from core.sockets import probe

__all__ = ["BotMetrics"]


class BotMetrics:
    """What Prometheus is told of the bot."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.updates = Counter(
            "tensight_bot_updates",
            "Updates by what came of them: done, failed, or to be tried again later.",
            ["outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tensight_bot_update_seconds",
            "From the moment that an update was taken to its answer.",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "tensight_bot_inbox", "Updates without an answer.", registry=self.registry
        )

    @contextmanager
    def serve_metrics(self, port: int | None) -> Iterator[None]:
        """Tell them on a port of 127.0.0.1 meanwhile; None: on none.

        Raises:
            ListenError: The port cannot be listened on.
        """
        if port is None:
            yield
            return
        probe("127.0.0.1", port)
        server, thread = start_http_server(port, "127.0.0.1", self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
