"""Prometheus metrics of the bot."""

from __future__ import annotations

import httpx
import pytest

from bot.metrics import BotMetrics
from core.errors import ListenError
from core.sockets import listen
from tests.support.servers import free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_metrics_are_served_on_the_given_address(host: str) -> None:
    metrics, port = BotMetrics(), free_port()
    metrics.updates.labels("done").inc()
    with metrics.serve_metrics(port, host):
        text = httpx.get(f"http://{host}:{port}/metrics").text
    assert 'tensight_bot_updates_total{outcome="done"} 1.0' in text


def test_metrics_port_in_use_is_an_error() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match="Cannot bind to"), BotMetrics().serve_metrics(port):
            pytest.fail("the port is taken")


def test_metrics_without_a_port_are_not_served() -> None:
    with BotMetrics().serve_metrics(None):
        pass
