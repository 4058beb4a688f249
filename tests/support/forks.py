"""Start processes of `tensight` that need not import its packages again.

Python and the packages of a command take seconds of processor time to start, far longer than most
of what tests do with it. A fork of a process that has imported them is a process of its own all the
same: it has its own environment, streams, signals and exit status, and it can be killed. What
depends on the start of the interpreter, or on variables that packages read when they are imported,
needs a process of `subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from tests.conftest import ROOT
from tests.support.fork_server import NUMBER, Request

__all__ = ["Fork", "Kind"]

Kind = Literal["commands", "page", "workers"]
"""Set of modules that a process has imported: those of most commands, also those of the page, or
those of the workers that learn, draw charts and look for drift.

The page imports huggingface_hub, which reads HF_ENDPOINT then: a process that asks a Hub of the
tests is forked from the other kind.
"""

# huggingface_hub is not among them, but the packages that it imports are.
_COMMANDS = (
    "bot.cli",
    "bot.runner",
    "core.bundle.leaderboard",
    "core.cli.main",
    "core.registry.releases",
    "core.registry.sync",
    "core.serving.connect",
    "core.serving.http.app",
    "core.serving.http.server",
    "core.serving.local",
    "core.store.store",
    "demo.cli",
    "filelock",
    "fsspec",
    "tqdm.auto",
    "yaml",
)
_MODULES: dict[Kind, tuple[str, ...]] = {
    "commands": _COMMANDS,
    "page": (*_COMMANDS, "demo.app"),
    "workers": ("core.charts.draw", "core.rollout.drift_report", "core.teaching.learner"),
}


class Fork:
    """A forked process, with the methods of `subprocess.Popen`.

    Args:
        arguments: As those of Python: `-m MODULE` or `-c CODE`, and those of the program.
        environment: Its environment variables.
        folder: Its working folder; None for that of this process.
        stdin: As in `subprocess.Popen`, except that None stands for an empty one.
        stdout: As in `subprocess.Popen`.
        stderr: As in `subprocess.Popen`.
        kind: What it has imported.

    Attributes:
        args: The arguments.
        pid: Process id.
        returncode: Exit status, negative for a signal; None while it is not known to have ended.
        stdin: Stream of text to the process, if asked for.
        stdout: Stream of its text, if asked for.
        stderr: Stream of its text, if asked for.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: Path | None = None,
        stdin: int | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        kind: Kind = "commands",
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        request = Request(self.args, str(folder or Path.cwd()), dict(environment))
        with ExitStack() as theirs:

            def pipe(mode: str) -> tuple[int, IO[str]]:
                reading, writing = os.pipe()
                own, other = (reading, writing) if mode == "r" else (writing, reading)
                theirs.callback(os.close, other)
                return other, os.fdopen(own, mode, encoding="utf-8")

            null = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, null)
            streams = [null, 1, 2]
            if stdin == subprocess.PIPE:
                streams[0], self.stdin = pipe("w")
            if stdout == subprocess.PIPE:
                streams[1], self.stdout = pipe("r")
            elif stdout is not None:
                streams[1] = stdout if isinstance(stdout, int) else stdout.fileno()
            if stderr == subprocess.PIPE:
                streams[2], self.stderr = pipe("r")
            elif stderr == subprocess.STDOUT:
                streams[2] = streams[1]
            elif stderr is not None:
                streams[2] = stderr if isinstance(stderr, int) else stderr.fileno()
            self._status = _server(kind).fork(request, streams)
        (self.pid,) = NUMBER.unpack(self._status.recv(NUMBER.size, socket.MSG_WAITALL))

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end, and return its exit status."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                received = self._status.recv(NUMBER.size, socket.MSG_WAITALL)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            (self.returncode,) = NUMBER.unpack(received)
            self._status.close()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Close its stdin after some text, read its output, and wait for the process to end."""
        texts = {1: "", 2: ""}

        def read(number: int, stream: IO[str]) -> None:
            with stream:
                texts[number] = stream.read()

        readers = [
            threading.Thread(target=read, args=(number, stream), daemon=True)
            for number, stream in ((1, self.stdout), (2, self.stderr))
            if stream is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None and not self.stdin.closed:
            with self.stdin:
                self.stdin.write(text or "")
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return texts[1], texts[2]

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


class _Server:
    """A process that forks others."""

    def __init__(self, kind: Kind) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        program = [sys.executable, "-m", "tests.support.fork_server", *_MODULES[kind]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with theirs:
            self._process = subprocess.Popen(
                program, stdin=theirs.fileno(), env=environment, cwd=ROOT
            )
        atexit.register(self._close)

    @property
    def runs(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def fork(self, request: Request, streams: Sequence[int]) -> socket.socket:
        """Ask for a process; return the socket that its id and its exit status come from."""
        body = json.dumps(vars(request)).encode()
        status, theirs = socket.socketpair()
        with theirs, self._lock:
            descriptors = [theirs.fileno(), *streams]
            socket.send_fds(self._control, [NUMBER.pack(len(body))], descriptors)
            self._control.sendall(body)
        return status

    def _close(self) -> None:
        self._control.close()
        self._process.wait()


_servers: dict[Kind, _Server] = {}
_servers_lock = threading.Lock()


def _server(kind: Kind) -> _Server:
    """Return the server of a kind; a new one if there is none, or if its process has ended.

    It was found ended after tests with Ray.
    """
    with _servers_lock:
        server = _servers.get(kind)
        if server is None or not server.runs:
            server = _servers[kind] = _Server(kind)
        return server
