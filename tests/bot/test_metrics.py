"""Prometheus metrics of the bot."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import generate_latest

from bot.metrics import BotMetrics
from core.errors import ListenError
from core.rollout.drift_report import drift_reports
from core.rollout.drift_samples import DriftSample
from core.sockets import listen
from tests.support.drift import DRIFTED, REVISION, USUAL, drift_report
from tests.support.rollouts import MODEL
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


def test_difference_from_validation_is_exported() -> None:
    metrics = BotMetrics()
    metrics.set_drift(drift_reports([DriftSample(MODEL, REVISION, DRIFTED, USUAL, USUAL)]))
    text = generate_latest(metrics.registry).decode()
    for name in ("labels", "confidences"):
        labels = f'model="{MODEL}",revision="{REVISION}",statistic="{name}"'
        assert f"tensight_drift_validation_change{{{labels}}}" in text
    metrics.set_drift([])
    assert "tensight_drift_validation_change{" not in generate_latest(metrics.registry).decode()


def test_drift_that_is_over_is_no_longer_exported() -> None:
    metrics = BotMetrics()
    metrics.set_drift([drift_report()])
    assert 'tensight_drift_alarm{model="' in generate_latest(metrics.registry).decode()
    metrics.set_drift([])
    assert "tensight_drift_alarm{" not in generate_latest(metrics.registry).decode()
