"""A worker process that answers requests, with a timeout for each answer."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from core.messages import read_message, write_message
from core.redaction import without_credentials
from core.system import parent_variable, stop_signals_blocked

__all__ = ["MessageProcess"]

# Environment variables that the worker inherits: it must see no token, key or password.
_INHERITED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG")
_MAX_TAIL_BYTES = 2000
_TAIL_S = 1.0


class MessageProcess:
    """A worker process, started by `start` or `ask`, and again by `ask` after it has ended.

    The worker reads requests from standard input and writes answers to standard output, see
    `core.messages`; its first message says that it is ready. One thread asks; any thread may close
    it. Stop signals do not reach the worker: its parent may still need it, and ends it.

    Args:
        command: Command line of the worker.
        start_timeout_s: Timeout of its start, in seconds.
        answer_timeout_s: Timeout of an answer, in seconds; after either, the process is killed.
        max_bytes: Maximum size of the bytes of an answer.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        start_timeout_s: float,
        answer_timeout_s: float,
        max_bytes: int = 0,
    ) -> None:
        self._command = command
        self._start_timeout_s = start_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._worker: _Worker | None = None

    @property
    def is_running(self) -> bool:
        """Return whether the worker runs."""
        worker = self._worker
        return worker is not None and worker.process.poll() is None

    def start(self) -> dict[str, Any]:
        """Start the worker, and return the JSON object of its first message.

        Raises:
            OSError, EOFError, MessageError: As for `ask`.
        """
        self.end()
        self._start()
        return self._receive(self._start_timeout_s)[0]

    def ask(
        self, request: dict[str, Any], *body: bytes | memoryview
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request to the worker, and return its answer.

        Args:
            request: JSON object of the request.
            *body: Parts of its bytes.

        Returns:
            JSON object and bytes of the answer.

        Raises:
            OSError, EOFError, MessageError: The worker cannot be started, has ended, was killed,
                or sent something other than a message; call `end` afterwards.
        """
        if not self.is_running:
            self.start()
        with self._killed_after(self._answer_timeout_s):
            write_message(cast("Any", self._running.stdin), request, *body)
        return self._receive(self._answer_timeout_s)

    def end(self) -> str:
        """End the worker if it runs.

        Returns:
            The end of what it wrote to standard error, without secrets.
        """
        with self._lock:
            worker, self._worker = self._worker, None
        return "" if worker is None else worker.end()

    def close(self) -> None:
        """Kill the worker, and any that is being started; never waits."""
        with self._lock:
            self._closed = True
        self._kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        worker = self._worker
        if worker is None:
            raise EOFError
        return worker.process

    def _start(self) -> None:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
        # Without the lock: it takes time, and `close` must not wait for it.
        worker = _Worker(self._command, environment | parent_variable())
        with self._lock:
            self._worker = worker
            closed = self._closed
        if closed:
            self.end()
            raise EOFError

    def _receive(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        with self._killed_after(seconds):
            return read_message(cast("Any", self._running.stdout), max_bytes=self._max_bytes)

    def _killed_after(self, seconds: float) -> _Deadline:
        return _Deadline(seconds, self._kill)

    def _kill(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.process.kill()


class _Worker:
    """A process, and the thread that starts it and reads its standard error until it ends.

    Linux kills a worker when the thread that started it ends, see `core.system.become_worker`, and
    the thread that sends the first request may be a short-lived one.

    Attributes:
        process: The process, with pipes.

    Args:
        command: Its command line.
        environment: Its environment variables.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._tail = b""
        started: Future[subprocess.Popen[bytes]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(command, environment, started), name="worker", daemon=True
        )
        _start_thread(self._thread)
        self.process = started.result()

    def end(self) -> str:
        """End the process.

        Returns:
            The end of its standard error, without secrets.
        """
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        self._thread.join(_TAIL_S)  # a process that it left behind may hold the stream open
        return without_credentials(self._tail.decode(errors="replace").strip())

    def _run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        started: Future[subprocess.Popen[bytes]],
    ) -> None:
        try:
            with stop_signals_blocked():
                process = subprocess.Popen(
                    command,
                    env=environment,
                    cwd=Path(__file__).resolve().parents[1],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
        except Exception as error:  # noqa: BLE001  # raised to the caller
            started.set_exception(error)
            return
        started.set_result(process)
        with cast("Any", process.stderr) as stream:
            while chunk := stream.read1():
                self._tail = (self._tail + chunk)[-_MAX_TAIL_BYTES:]
        process.wait()


class _Deadline:
    """Context manager that calls a function if it is still open after some seconds."""

    def __init__(self, seconds: float, on_timeout: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, on_timeout)
        self._timer.daemon = True

    def __enter__(self) -> None:
        _start_thread(self._timer)

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()


def _start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        OSError: The system has no thread left.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(str(error)) from error
