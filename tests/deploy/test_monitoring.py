"""Prometheus and Grafana: the files are valid, and name metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from bot.metrics import BotMetrics
from core.serving.telemetry import RolloutCollector, Telemetry
from tests.conftest import ROOT
from tests.support.tools import run_tool

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = GRAFANA / "dashboards" / "tensight.json"
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def _exported() -> set[str]:
    """Return the names of all metrics of the service and the bot."""
    telemetry = Telemetry()
    telemetry.watch_queue(lambda: 0, 1)
    telemetry.watch_models(list)
    rollouts = CollectorRegistry()
    rollouts.register(RolloutCollector(list, dict))
    registries = telemetry.registry, BotMetrics().registry, rollouts
    return {name for each in registries for name in _names(each)}


def _names(registry: CollectorRegistry) -> Iterator[str]:
    for family in registry.collect():
        for suffix in _SUFFIXES[family.type]:
            yield family.name + suffix


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return panels


def _expressions() -> list[str]:
    return [target["expr"] for panel in _panels() for target in panel.get("targets", [])]


def test_prometheus_configuration_is_valid() -> None:
    done = run_tool("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout


def test_alert_rules_pass_their_unit_tests() -> None:
    done = run_tool("promtool", "test", "rules", Path(__file__).with_name("alerts.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    tested = Path(__file__).with_name("alerts.yml").read_text("utf-8")
    assert set(re.findall(r"alertname: (\w+)", tested)) == alerts


def test_dashboard_and_alerts_name_metrics_that_exist() -> None:
    alerts = (PROMETHEUS / "alerts.yml").read_text("utf-8")
    named = set(re.findall(r"\btensight_\w+", " ".join([alerts, *_expressions()])))
    exported = _exported()
    assert named <= exported
    # The dashboard shows every metric, and of histograms the buckets.
    hidden = ("_count", "_sum")
    assert {name for name in exported if not name.endswith(hidden)} <= named


def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    rules = [
        # Grafana puts the interval in.
        {"record": f"panel:{i}", "expr": expression.replace("$__rate_interval", "5m")}
        for i, expression in enumerate(_expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run_tool("promtool", "check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_titles_and_places_of_their_own() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith(".")
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboard_uses_the_provisioned_data_source() -> None:
    sources = GRAFANA / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(sources.read_text("utf-8"))["datasources"]
    used = {
        target["datasource"]["uid"] for panel in _panels() for target in panel.get("targets", [])
    }
    assert used == {source["uid"]}
