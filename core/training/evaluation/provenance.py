"""Provenance of a model or of its metrics: hardware, code, date and package versions."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import keras

import core
from core.bundle.metrics import Provenance
from core.settings import processors
from core.system import processor_name

__all__ = ["commit", "hardware", "provenance", "today"]

_VERSIONED = ("tensight", "ai-edge-litert", "keras", "numpy", "pillow", "tensorflow")


def provenance(command: str) -> Provenance:
    """Describe this process and its environment.

    Args:
        command: The command line.
    """
    return Provenance(
        command=command,
        hardware=hardware(),
        commit=commit(),
        date=today(),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in _VERSIONED},
    )


def hardware() -> str:
    """Describe the usable cores, the processor and any accelerators of Keras in one line."""
    return ", ".join([f"{processors()} × {processor_name()}", *_accelerators()])


def _accelerators() -> list[str]:
    """Return the names of the accelerators that the backend of Keras can use."""
    backend = keras.backend.backend()
    if backend == "jax":
        devices = import_module("jax").devices()
        return [device.device_kind for device in devices if device.platform != "cpu"]
    if backend == "tensorflow":
        config = import_module("tensorflow").config
        return [
            config.experimental.get_device_details(device).get("device_name", "GPU")
            for device in config.list_physical_devices("GPU")
        ]
    return []


def commit() -> str:
    """Return the commit of the checkout, 12 hex digits.

    A `+` is appended if files in core/ differ from it. Outside a checkout it is `unknown`.
    """

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(Path(core.__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def today() -> str:
    """Return the date in UTC, in the format 2026-01-31."""
    return datetime.now(UTC).date().isoformat()
