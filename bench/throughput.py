"""Throughput with concurrent clients, compared with LitServe and Gradio."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import ROUNDS, Section
from bench.photos import Photos
from tests.support.servers import free_port, wait_until_it_answers

__all__ = ["load", "throughput"]

_ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 3.0
_CLIENTS = (1, 16, 64)
_THREADS = "ours, decoding in threads"
_LITSERVE = {
    "LitServe, defaults": (1, 1),
    "LitServe, batches of 32": (1, 32),
    "LitServe, two workers": (2, 1),
    "LitServe, two workers, batches of 32": (2, 32),
}


def throughput(photos: Photos, folder: Path) -> Section:
    """Measure throughput and latency of the HTTP service with 1, 16 and 64 clients.

    Args:
        photos: Photos to send.
        folder: Folder for log files.
    """
    section = Section(
        "Throughput with concurrent clients",
        "Closed-loop clients send the photo of 200 kB over keep-alive connections to the model "
        f"`scratch`. All servers are running; in each of {ROUNDS} rounds, each is loaded for "
        f"{_SECONDS:g} s in turn by clients in a separate process. LitServe uses our decoder and "
        "the same flatbuffer in four configurations, of which the fastest is the reference; Gradio "
        f"serves a plain `gr.Interface` of it. “{_THREADS}” is our service without worker "
        "processes: it decodes in threads, without limits of time and memory.",
    )
    with ExitStack() as servers:
        targets: dict[str, tuple[str, str]] = {}
        port = free_port()
        ours = [sys.executable, "-m", "core.cli", "serve", "--port", str(port)]
        ready = f"http://127.0.0.1:{port}/readyz"
        servers.enter_context(_server(ours, ready, folder / "ours.log"))
        targets["ours"] = ("raw", f"http://127.0.0.1:{port}/v1/predict?model=scratch")
        port = free_port()
        threads = [sys.executable, "-m", "bench.threaded_service", str(port)]
        ready = f"http://127.0.0.1:{port}/readyz"
        servers.enter_context(_server(threads, ready, folder / "threads.log"))
        targets[_THREADS] = ("raw", f"http://127.0.0.1:{port}/v1/predict?model=scratch")
        for name, (workers, batch) in _LITSERVE.items():
            port = free_port()
            command = [sys.executable, "-m", "bench.rivals", "litserve", str(port)]
            command += [str(workers), str(batch)]
            address = f"http://127.0.0.1:{port}"
            log = folder / f"litserve-{workers}-{batch}.log"
            servers.enter_context(_server(command, f"{address}/health", log))
            targets[name] = ("raw", f"{address}/predict")
        port = free_port()
        command = [sys.executable, "-m", "bench.rivals", "gradio", str(port), "1", "1"]
        address = f"http://127.0.0.1:{port}"
        servers.enter_context(_server(command, address, folder / "gradio.log"))
        targets["gr.Interface"] = ("gradio", address)
        for clients in _CLIENTS:
            _measure(section, targets, photos.typical, clients)
    return section


def _measure(
    section: Section, targets: dict[str, tuple[str, str]], photo: Path, clients: int
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in targets}
    latencies: dict[str, list[float]] = {name: [] for name in targets}
    for kind, url in targets.values():
        load(kind, url, photo, clients, 0.5)
    for _ in range(ROUNDS):
        for name, (kind, url) in targets.items():
            sample = load(kind, url, photo, clients, _SECONDS)
            rates[name].append(len(sample) / _SECONDS)
            latencies[name] += sample
    load_name = f"{clients} client{'s' if clients > 1 else ''}"
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in medians.items():
        section.add(f"{load_name}: {name}", rate, "photos/s")
        for share, level in (("median", 0.5), ("p95", 0.95)):
            quantile = sorted(latencies[name])[int(level * (len(latencies[name]) - 1))]
            section.add(f"{load_name}: {name}, latency, {share}", quantile, "ms")
    best = max((name for name in medians if name in _LITSERVE), key=medians.__getitem__)
    target = "at least 1.5" if clients == 16 else ""
    section.add(
        f"{load_name}: ours relative to {best}", medians["ours"] / medians[best], "times", target
    )
    for name in (_THREADS, "LitServe, defaults", "gr.Interface"):
        section.add(
            f"{load_name}: ours relative to {name}", medians["ours"] / medians[name], "times"
        )


def load(kind: str, url: str, photo: Path, clients: int, seconds: float) -> list[float]:
    """Load a server from a process of its own.

    Args:
        kind: `raw` or `gradio`.
        url: URL that the photo is sent to.
        photo: Path of the photo.
        clients: Number of clients that send one after another.
        seconds: How long they send.

    Returns:
        Duration in ms of each request that was answered.

    Raises:
        RuntimeError: A request failed.
    """
    command = [sys.executable, "-m", "bench.load", kind, url, str(photo)]
    run = subprocess.run(
        [*command, str(clients), str(seconds)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    if run.returncode != 0:
        raise RuntimeError(f"The load of {clients} clients on {url} failed: {run.stderr}")
    latencies: list[float] = json.loads(run.stdout)
    return latencies


@contextmanager
def _server(command: list[str], url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and stop it, with its child processes, on exit."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
            start_new_session=True,
        )
    try:
        wait_until_it_answers(url, server, log)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        time.sleep(0.1)
