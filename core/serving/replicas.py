"""Number and options of the replicas of the service, for Ray Serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError
from core.settings import Settings

__all__ = [
    "APPLICATION",
    "DEPLOYMENT",
    "LOGGING",
    "PROCESSORS_PER_REPLICA",
    "Replicas",
    "deployment_options",
]

APPLICATION = "tensight"
"""Name of the application in the cluster."""
DEPLOYMENT = "service"
"""Name of its deployment."""
# Writing a log line for each request would take longer than routing it.
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
"""Options of Ray Serve's logs."""
PROCESSORS_PER_REPLICA = 1
"""Processors that Ray reserves for a replica, and threads of its models unless they are set."""

_MAX_REPLICAS = 1_000
# Replicas are added while each has more requests than this on average: two thirds of a batch.
_TARGET_REQUESTS = 20


@dataclass(frozen=True)
class Replicas:
    """Number of replicas to run.

    Attributes:
        minimum: Number of replicas without load.
        maximum: Number of replicas under full load; equal to `minimum` where the number is fixed.
    """

    minimum: int
    maximum: int

    @classmethod
    def parse(cls, text: str, processors: int) -> Replicas:
        """Read an option: a number, `MIN-MAX`, or `auto` for 1 to the number of processors.

        Raises:
            SettingsError: The text is none of these.
        """
        if text == "auto":
            return cls(1, max(1, processors // PROCESSORS_PER_REPLICA))
        first, dash, last = text.partition("-")
        if first.isdecimal() and (last.isdecimal() if dash else not last):
            minimum, maximum = int(first), int(last if dash else first)
            if 1 <= minimum <= maximum <= _MAX_REPLICAS:
                return cls(minimum, maximum)
        raise SettingsError(
            f"--replicas is {text!r}. Give a number from 1 to {_MAX_REPLICAS:,}, a range such as "
            "2-8, or auto."
        )


def deployment_options(replicas: Replicas, settings: Settings) -> dict[str, Any]:
    """Return the options of the deployment, named as in Ray Serve's configuration files.

    Args:
        replicas: Number of replicas.
        settings: `queue_size` and `deadline_s` are used.
    """
    options: dict[str, Any] = {
        # A replica queues as much as one process does; beyond it, requests wait in Ray's proxies,
        # and beyond that they are refused with status 503.
        "max_ongoing_requests": settings.queue_size,
        "max_queued_requests": settings.queue_size,
        # A replica is replaced once it fails to classify a photo three times in a row.
        "health_check_period_s": 5.0,
        "health_check_timeout_s": settings.deadline_s + 10.0,
        # Requests that run are finished before a replica stops.
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": settings.deadline_s + 10.0,
        "logging_config": LOGGING,
        "ray_actor_options": {"num_cpus": float(PROCESSORS_PER_REPLICA)},
    }
    if replicas.minimum == replicas.maximum:
        return {"num_replicas": replicas.minimum} | options
    scaling = {
        "min_replicas": replicas.minimum,
        "initial_replicas": replicas.minimum,
        "max_replicas": replicas.maximum,
        "target_ongoing_requests": min(_TARGET_REQUESTS, max(1, settings.queue_size // 2)),
        "upscale_delay_s": 5.0,
        "downscale_delay_s": 300.0,
    }
    return {"autoscaling_config": scaling} | options
