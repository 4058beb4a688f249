"""Common parts of the attacks of the section `security`: server, second client and page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import free_port, wait_until_it_answers

__all__ = ["Server", "other_client", "run_server"]

_STOP_S = 60


@dataclass(frozen=True)
class Server:
    """A server under attack.

    Attributes:
        process: Process of the server.
        port: Port on 127.0.0.1.
    """

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def run_server(front: str, folder: Path, **settings: str) -> Iterator[Server]:
    """Run `tensight serve` or `tensight web`, and wait until its models are loaded.

    Args:
        front: `serve` or `web`.
        folder: Folder for the log.
        **settings: Environment variables.

    Raises:
        AssertionError: The server exited; the message is its log.
    """
    port, log = free_port(), folder / f"security-{front}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "core.cli", front, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | settings,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", process, log)
        while b"TenSight answers" not in log.read_bytes():
            time.sleep(0.1)
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def other_client(send: Callable[[], object], pause_s: float) -> Iterator[list[float]]:
    """Send requests in a thread while the context is open.

    Args:
        send: Sends a request and waits for its response.
        pause_s: Pause in seconds between two requests.

    Yields:
        Duration of each request in seconds, appended as they end.
    """
    stopped = threading.Event()
    durations: list[float] = []

    def loop() -> None:
        while not stopped.is_set():
            started = time.perf_counter()
            send()
            durations.append(time.perf_counter() - started)
            stopped.wait(pause_s)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield durations
    finally:
        stopped.set()
        thread.join()
