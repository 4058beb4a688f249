"""Many clients at once: our service against LitServe and a plain Gradio interface."""

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
from tests.ports import free_port, wait_until_it_answers

__all__ = ["throughput"]

_SECONDS = 3.0
_CLIENTS = (1, 16, 64)
_LITSERVE = {
    "LitServe, as it comes": (1, 1),
    "LitServe, batches of 32": (1, 32),
    "LitServe, two workers": (2, 1),
    "LitServe, two workers, batches of 32": (2, 32),
}


def throughput(photos: Photos, folder: Path) -> Section:
    """Photos a second, and milliseconds of an answer, at 1, 16 and 64 clients."""
    section = Section(
        "Many clients",
        "Each client sends the photo of 200 kB, over a connection that it keeps, again as soon as "
        "it has its answer, by the model `scratch`. All servers run side by side; each has its "
        f"turn of {_SECONDS:g} s in each of {ROUNDS} rounds, the clients in a process of their own "
        "beside it. LitServe runs the same flatbuffer on photos that are decoded by the same code, "
        "in four ways, of which the fastest counts; Gradio a plain `gr.Interface` of it.",
    )
    with ExitStack() as servers:
        asked: dict[str, tuple[str, str]] = {}
        port = free_port()
        ours = [sys.executable, "-m", "core.cli", "serve", "--port", str(port)]
        ready = f"http://127.0.0.1:{port}/readyz"
        servers.enter_context(_server(ours, ready, folder / "ours.log"))
        asked["ours"] = ("raw", f"http://127.0.0.1:{port}/v1/predict?model=scratch")
        for name, (workers, batch) in _LITSERVE.items():
            port = free_port()
            command = [sys.executable, "-m", "bench.rivals", "litserve", str(port)]
            command += [str(workers), str(batch)]
            address = f"http://127.0.0.1:{port}"
            log = folder / f"litserve-{workers}-{batch}.log"
            servers.enter_context(_server(command, f"{address}/health", log))
            asked[name] = ("raw", f"{address}/predict")
        port = free_port()
        command = [sys.executable, "-m", "bench.rivals", "gradio", str(port), "1", "1"]
        address = f"http://127.0.0.1:{port}"
        servers.enter_context(_server(command, address, folder / "gradio.log"))
        asked["gr.Interface"] = ("gradio", address)
        for clients in _CLIENTS:
            _measure(section, asked, photos.usual, clients)
    return section


def _measure(
    section: Section, asked: dict[str, tuple[str, str]], photo: Path, clients: int
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in asked}
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for kind, url in asked.values():
        _load(kind, url, photo, clients, 0.5)
    for _ in range(ROUNDS):
        for name, (kind, url) in asked.items():
            answers = _load(kind, url, photo, clients, _SECONDS)
            rates[name].append(len(answers) / _SECONDS)
            taken[name] += answers
    what = f"{clients} client{'s' if clients > 1 else ''}"
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in medians.items():
        section.add(f"{what}: {name}", rate, "photos/s")
        for share, at in (("half", 0.5), ("95%", 0.95)):
            within = sorted(taken[name])[int(at * (len(taken[name]) - 1))]
            section.add(f"{what}: {name}, {share} of the answers within", within, "ms")
    best = max((name for name in medians if name in _LITSERVE), key=medians.__getitem__)
    wanted = "at least 1.5" if clients == 16 else ""
    section.add(f"{what}: ours against {best}", medians["ours"] / medians[best], "times", wanted)
    for name in ("LitServe, as it comes", "gr.Interface"):
        section.add(f"{what}: ours against {name}", medians["ours"] / medians[name], "times")


def _load(kind: str, url: str, photo: Path, clients: int, seconds: float) -> list[float]:
    command = [sys.executable, "-m", "bench.load", kind, url, str(photo)]
    run = subprocess.run(
        [*command, str(clients), str(seconds)], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise RuntimeError(f"{url} at {clients} clients: {run.stderr}")
    answers: list[float] = json.loads(run.stdout)
    return answers


@contextmanager
def _server(command: list[str], url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server as long as it is needed, with what it starts."""
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
