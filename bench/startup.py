"""Start-up time and memory of the command line, the page and the HTTP service."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from gradio_client import Client, handle_file

from bench.figures import ROUNDS, Section, measure_process, resident_mb
from bench.photos import Photos
from tests.support.servers import free_port

__all__ = ["startup"]

_PROGRAM = [sys.executable, "-m", "core.cli"]


def startup(photos: Photos, folder: Path) -> Section:
    """Compare start-up time and memory with importing NumPy, TensorFlow and Gradio.

    Args:
        photos: Photos to classify.
        folder: Folder for log files.
    """
    section = Section(
        "Start-up time and memory",
        "Whole processes with a warm file cache; `python` is an interpreter that runs nothing, and "
        "the imports include it. `tensight predict` classifies one photo of 12 megapixels. Page "
        "and service are timed until they respond, the service with all models loaded. Memory is "
        "the highest resident size of all rounds: the peak of `predict` and of the imports, and "
        "that of page and service after one photo.",
    )
    commands = _commands(photos.large)
    durations: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for round_number in range(ROUNDS + 1):
        for name, command in commands.items():
            seconds, peak = measure_process(command)
            if round_number:
                durations.setdefault(name, []).append(seconds)
                memory.setdefault(name, []).append(peak)
        for name, command, path, predict_on in (
            ("tensight web", [*_PROGRAM, "web"], "/healthz", _predict_on_page),
            ("tensight serve", [*_PROGRAM, "serve"], "/readyz", _predict_on_service),
        ):
            seconds, resident = _measure_server(
                command, path, predict_on, photos.typical, folder / "startup.log"
            )
            if round_number:
                durations.setdefault(name, []).append(seconds)
                memory.setdefault(name, []).append(resident)
    _add_durations(section, {name: statistics.median(each) for name, each in durations.items()})
    for name, target in (
        ("tensight predict", "under 250"),
        ("tensight web", ""),
        ("tensight serve", ""),
        ("import tensorflow", ""),
        ("import gradio", ""),
    ):
        section.add(f"memory: {name}", max(memory[name]), "MB", target)
    return section


def _commands(photo: Path) -> dict[str, list[str]]:
    """Return the command lines of the processes that end by themselves, by name."""
    imports = ("import numpy", "from core import Classifier, Settings")
    rivals = ("import tensorflow", "import gradio")
    return {
        "python": [sys.executable, "-c", ""],
        **{program: [sys.executable, "-c", program] for program in imports},
        "tensight --version": [*_PROGRAM, "--version"],
        "tensight --help": [*_PROGRAM, "--help"],
        "tensight predict": [*_PROGRAM, "predict", str(photo), "--json"],
        **{program: [sys.executable, "-c", program] for program in rivals},
    }


def _add_durations(section: Section, medians: Mapping[str, float]) -> None:
    """Add the duration of each process, and those that have a target beside another process.

    Args:
        section: The section of start-up times.
        medians: Median duration of each process in seconds, by name.
    """
    for name, seconds in medians.items():
        section.add(f"start-up: {name}", seconds * 1e3, "ms")
    for name in ("tensight --version", "tensight --help"):
        beyond = medians[name] - medians["python"]
        section.add(f"start-up: {name} beyond that of python", beyond * 1e3, "ms", "at most 210")
    for name, other, target in (
        ("from core import Classifier, Settings", "import numpy", "at most 3"),
        ("tensight predict", "import tensorflow", "at most 0.1"),
        ("tensight web", "import gradio", "at most 2"),
    ):
        section.add(
            f"start-up: {name} relative to {other}",
            medians[name] / medians[other],
            "times",
            target,
        )


def _predict_on_service(address: str, photo: Path) -> None:
    httpx.post(f"{address}/v1/predict", content=photo.read_bytes()).raise_for_status()


def _predict_on_page(address: str, photo: Path) -> None:
    page = Client(address, verbose=False)
    page.predict(handle_file(str(photo)), api_name="/predict")
    page.close()


def _measure_server(
    command: list[str], path: str, predict_on: Callable[[str, Path], None], photo: Path, log: Path
) -> tuple[float, float]:
    """Start a server, send it a photo and stop it.

    Args:
        command: Command line without the port.
        path: Path that returns status 200 once the server is ready.
        predict_on: Sends a photo to an address.
        photo: The photo.
        log: File for the server's output.

    Returns:
        Seconds until the server is ready, and its resident memory after the photo in MiB.

    Raises:
        RuntimeError: The server exited; the message is its output.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        started = time.perf_counter()
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
        )
        try:
            while True:
                try:
                    if httpx.get(f"{address}{path}").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if server.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            predict_on(address, photo)
            return seconds, resident_mb(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
