from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.errors import SettingsError
from core.serving.replicas import Replicas, deployment_options
from core.settings import Settings
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("1", 1, 1), ("3", 3, 3), ("2-8", 2, 8), ("5-5", 5, 5), ("auto", 1, 4)],
)
def test_replicas_are_read_from_an_option(text: str, least: int, most: int) -> None:
    assert Replicas.parse(text, processors=4) == Replicas(least, most)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "2-1", "1-", "-", "0-2", "1.5", "many", "1-2-3", "1001", "²", " 2"]
)
def test_invalid_replicas_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="Give a number from 1 to 1,000, a range such as 2-8"):
        Replicas.parse(text, processors=4)


def test_fixed_number_of_replicas_does_not_scale() -> None:
    options = deployment_options(Replicas(3, 3), Settings())
    assert options["num_replicas"] == 3
    assert "autoscaling_config" not in options


@pytest.mark.parametrize(("queue_size", "target"), [(1, 1), (8, 4), (64, 20), (10_000, 20)])
def test_range_of_replicas_scales_on_ongoing_requests(queue_size: int, target: int) -> None:
    options = deployment_options(Replicas(2, 8), Settings(queue_size=queue_size))
    assert "num_replicas" not in options
    scaling = options["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 8)
    assert scaling["target_ongoing_requests"] == target
    assert options["max_ongoing_requests"] == queue_size


def test_replica_stops_after_its_running_photos() -> None:
    options = deployment_options(Replicas(1, 1), Settings(deadline_s=90))
    assert options["graceful_shutdown_timeout_s"] > 90
    assert options["health_check_timeout_s"] > 90


def test_replicas_without_ray_are_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "core.cli", "serve", "--replicas", "2"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 2
    assert "--replicas needs --engine ray" in run.stderr
