"""A cluster of Ray replicas on loopback, as `tensight serve --engine ray` starts it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from core.inference.prediction import Prediction
from core.serving.remote import RemotePredictor
from tests.conftest import ROOT, need
from tests.support.http_service import PATIENCE_S, port_of
from tests.support.processes import is_running
from tests.support.servers import wait_for

__all__ = [
    "START_S",
    "Cluster",
    "Load",
    "lasting_port",
    "listening_addresses",
    "need_ray",
    "processes_of",
    "running_cluster",
]

START_S = 600.0
"""Outer limit in seconds for starting a cluster; a quiet machine needs a fifteenth of it."""

_COMMAND = [sys.executable, "-m", "core.cli", "serve", "--engine", "ray"]


def need_ray() -> None:
    """Skip a test where the extra `cluster` is not installed."""
    need("ray", importlib.util.find_spec("ray") is not None, "the extra cluster is not installed")


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        url: Address of Ray's proxy.
        home: TENSIGHT_HOME of the cluster, which tells its processes from others.
    """

    url: str
    home: Path

    def processes(self) -> list[int]:
        """Return the ids of the cluster's processes."""
        return processes_of(self.home)

    def replicas(self) -> list[int]:
        """Return the ids of the replicas' processes."""
        return processes_of(self.home, "ray::ServeReplica")

    def metrics(self) -> str:
        """Return the metrics of all replicas."""
        return httpx2.get(f"{self.url}/metrics", timeout=PATIENCE_S).text

    def ready_replicas(self) -> set[str]:
        """Return the names of the replicas that answer."""
        try:
            return set(re.findall(r'tensight_queue_size\{replica="([^"]+)"\}', self.metrics()))
        except httpx2.HTTPError:
            return set()

    def serves(self, revisions: Mapping[str, str]) -> bool:
        """Return whether two replicas answer with these revisions, by model."""
        metrics = self.metrics()
        return all(
            f'tensight_cluster_live_revision{{model="{name}",revision="{revision}"}} 2.0\n'
            in metrics
            for name, revision in revisions.items()
        )

    def wait_until_ready(self, replicas: int) -> None:
        """Wait until as many replicas answer, in as many processes."""
        wait_for(
            lambda: len(self.ready_replicas()) == replicas == len(self.replicas()), seconds=START_S
        )

    def deploy_again(self) -> None:
        """Deploy the application again, as a user does with RAY_ADDRESS; it replaces replicas."""
        (gcs,) = (
            process
            for process in self.processes()
            if b"/gcs_server" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]
        )
        (port,) = {each.rpartition(":")[2] for each in listening_addresses([gcs])}
        run = subprocess.run(
            [*_COMMAND, "--replicas", str(len(self.replicas())), "--port", str(port_of(self.url))],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "TENSIGHT_HOME": str(self.home.parent / "deploying"),
                "RAY_ADDRESS": f"127.0.0.1:{port}",
                "RAY_AUTH_TOKEN_PATH": str(self.home / "ray-token"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr

    def total(self, metric: str) -> float:
        """Return the sum of a metric over its labels."""
        values = re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)$", self.metrics(), re.MULTILINE)
        return sum(map(float, values))


def processes_of(home: Path, name: str = "") -> list[int]:
    """Return the ids of processes with this TENSIGHT_HOME whose title begins with a name."""
    mark = f"TENSIGHT_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            title = (folder / "cmdline").read_bytes().decode(errors="replace")
            ours = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if ours and title.startswith(name) and is_running(int(folder.name)):
            found.append(int(folder.name))
    return found


def listening_addresses(processes: Iterable[int]) -> set[str]:
    """Return the addresses that processes listen on over TCP, as `host:port`."""
    sockets: set[str] = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[len("socket:[") : -1])
    addresses = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                host, port = fields[1].split(":")
                words = bytes.fromhex(host)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                addresses.add(f"{socket.inet_ntop(family, packed)}:{int(port, 16)}")
    return addresses


def lasting_port() -> int:
    """Return a free port that stays free while Ray starts, which opens many connections.

    The system gives ports from 32768 on to connections, and Ray those up to 19999 to its workers.
    """
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("100 ports between 20000 and 32767 are in use.")


@contextmanager
def running_cluster(
    home: Path, *, replicas: str = "2", environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Run a cluster, which must stop with status 0.

    Args:
        home: TENSIGHT_HOME of the cluster.
        replicas: The option `--replicas`.
        environment: Further variables.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = lasting_port()
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_COMMAND, "--replicas", replicas, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TENSIGHT_HOME": str(home)}
            | dict(environment or {}),
        )
    cluster = Cluster(f"http://127.0.0.1:{port}", home)

    def started() -> bool:
        assert process.poll() is None, log.read_text()
        return b"TenSight answers" in log.read_bytes()

    try:
        wait_for(started, seconds=START_S)
        cluster.wait_until_ready(int(replicas.partition("-")[0]))
        yield cluster
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        for each in cluster.processes():
            os.kill(each, signal.SIGKILL)


@dataclass
class Load:
    """Clients that ask for the same photos again and again, with the retries of the client.

    Attributes:
        url: Address of the service.
        photos: The photos, asked for in turn.
        clients: Number of clients at the same time.
        model: Name of the model.
        timeout_s: Timeout in seconds of a photo, with all retries.
        answers: Number of the photo, and prediction or error, in order of arrival.
        seconds: Duration of each, with all retries.
    """

    url: str
    photos: Sequence[bytes]
    clients: int
    model: str = "classic"
    timeout_s: float = PATIENCE_S
    answers: list[tuple[int, Prediction | Exception]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the end of the block."""
        stopped = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._ask(stopped)))
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(PATIENCE_S)
        assert not thread.is_alive()

    async def _ask(self, stopped: threading.Event) -> None:
        with closing(RemotePredictor(self.url, timeout_s=self.timeout_s)) as remote:

            async def client(number: int) -> None:
                while not stopped.is_set():
                    photo = (number + len(self.answers)) % len(self.photos)
                    began = time.perf_counter()
                    try:
                        answer: Prediction | Exception = await remote.predict(
                            self.photos[photo], model=self.model
                        )
                    except Exception as error:  # noqa: BLE001  # the test judges it
                        answer = error
                    self.answers.append((photo, answer))
                    self.seconds.append(time.perf_counter() - began)

            await asyncio.gather(*(client(number) for number in range(self.clients)))

    def check(self, expected: Sequence[Mapping[str, float]]) -> None:
        """Fail on an error, or on scores that differ by more than 1e-5 from those of the photo.

        Args:
            expected: The scores of each photo.
        """
        assert self.answers
        for photo, answer in self.answers:
            assert isinstance(answer, Prediction), answer
            assert answer.scores == pytest.approx(expected[photo], abs=1e-5)
