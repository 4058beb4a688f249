"""A pool of worker processes that decode photos within limits on memory and time.

Each worker has its own pipes and is driven by the calling thread, so a photo that kills its worker
affects no other. The library pebble was measured and not used: its workers share one pipe and one
lock, so a worker that the system kills while it holds the lock blocks all, and a photo of 200 kB
took 0.85 ms, and 0.5 ms of this process, instead of 0.13 ms and 0.07 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import ImageError, ImageErrorCode, UnavailableError
from core.messages import MessageError, read_message, write_message
from core.photos.decode import Photo, check_bytes, read_photo
from core.photos.formats.claimed import claimed_pixels, is_plain
from core.photos.limits import PhotoLimits
from core.photos.prepare import Preparation, PreparedPhoto, prepare
from core.photos.worker import request_to_header
from core.system import set_pipe_size

__all__ = ["PhotoPool"]

_START_S = 60.0
_PIPE_BYTES = 2**20
_WATCH_S = 0.1
_ARCHIVAL_BYTES = 4 * 2**20
# Environment variables that the workers inherit: they must see no token, key or password.
_INHERITED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG")


class PhotoPool:
    """Prepares photos in worker processes, which are killed and replaced beyond their limits.

    Safe to share between threads. Workers are started on first use, or by `start`.

    Args:
        limits: Limits of each photo.
        workers: Maximum number of processes; further callers wait.
        inline_pixels: Photos up to this size, in a format that Pillow itself decodes, are prepared
            in this process, so that a command for one photo does not start another process.
    """

    def __init__(self, limits: PhotoLimits, *, workers: int, inline_pixels: int = 0) -> None:
        self._limits = limits
        self._max_workers = workers
        self._inline_pixels = inline_pixels
        self._lock = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._watching = False
        self._closed = False

    @property
    def workers(self) -> int:
        """Maximum number of photos that are prepared at the same time."""
        return self._max_workers

    def start(self, count: int) -> None:
        """Start workers concurrently and wait until they are ready.

        Args:
            count: Number of workers, at most `workers`.

        Raises:
            UnavailableError: A worker cannot be started.
        """
        count = min(count, self._max_workers)
        with ThreadPoolExecutor(count) as threads:
            starting = [threads.submit(self._take) for _ in range(count)]
        for each in starting:
            if each.exception() is None:
                self._give_back(each.result())
        for each in starting:
            each.result()

    def process_ids(self) -> list[int]:
        """Return the process ids of the running workers."""
        with self._lock:
            return [worker.pid for worker in [*self._idle, *self._busy]]

    def prepare(self, photo: Photo, request: Preparation) -> PreparedPhoto:
        """Decode a photo and derive the requested images, see `core.photos.prepare`.

        A PIL image, which the caller has opened, is prepared in this process.

        Args:
            photo: The photo.
            request: The requested images.

        Raises:
            ImageError: As in `decode`; `unsupported` if the photo exceeds a time limit or crashes
                its decoder, `too_many_pixels` if it exceeds the memory limit.
            PhotoReadError: The path cannot be read.
            UnavailableError: The pool is closed, or a worker cannot be started.
        """
        if isinstance(photo, Image.Image):
            return prepare(photo, request)
        data = photo if isinstance(photo, bytes) else read_photo(photo)
        check_bytes(data)
        if self._inline_pixels and is_plain(data) and claimed_pixels(data) <= self._inline_pixels:
            return prepare(data, request)
        for may_retry in (True, False):
            worker = self._take()
            try:
                return worker.prepare(data, request)
            except _WorkerEndedError as ended:
                # The system may kill a worker when other processes use up the memory.
                if not (may_retry and ended.may_be_external):
                    raise ended.as_image_error(self._limits) from ended
            finally:
                self._give_back(worker)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Kill all workers, including those that are running."""
        with self._lock:
            self._closed = True
            idle, busy = self._idle, list(self._busy)
            self._idle = []
            self._lock.notify_all()
        for worker in idle:
            worker.end()
        for worker in busy:
            worker.kill()  # the threads that drive them clean up

    def _take(self) -> _Worker:
        """Return an idle worker or a new one, waiting for it if necessary."""
        with self._lock:
            while not self._closed and not self._idle and len(self._busy) >= self._max_workers:
                self._lock.wait()
            if self._closed:
                raise UnavailableError.closed()
            worker = self._idle.pop() if self._idle else _Worker(self._limits)
            self._busy.add(worker)
            if not self._watching:
                self._watching = True
                threading.Thread(
                    target=self._kill_overdue, name="photo limits", daemon=True
                ).start()
        try:
            worker.ensure_started()
        except (_WorkerEndedError, OSError) as error:
            self._give_back(worker)
            raise UnavailableError(
                f"The worker process that decodes photos cannot be started: {error}. Check that "
                "the machine has free memory, and restart TenSight."
            ) from error
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if not self._closed:
                self._idle.append(worker)
            self._lock.notify()
        if self._closed:
            worker.end()

    def _kill_overdue(self) -> None:
        """Kill workers beyond their time limit, while any is running."""
        while True:
            time.sleep(_WATCH_S)
            with self._lock:
                busy = list(self._busy)
                if not busy:
                    self._watching = False
                    return
            for worker in busy:
                worker.kill_if_overdue()


class _WorkerEndedError(Exception):
    """A worker ended without a result.

    Attributes:
        timed_out: Whether it was killed for exceeding the limit on elapsed time.
        signal: Number of the signal that ended it; 0 for any other reason.
    """

    def __init__(self, *, timed_out: bool, signal_number: int) -> None:
        super().__init__("timeout" if timed_out else f"signal {signal_number}")
        self.timed_out = timed_out
        self.signal = signal_number

    @property
    def may_be_external(self) -> bool:
        """Return whether something other than the photo may have ended the worker."""
        return not self.timed_out and self.signal == getattr(signal, "SIGKILL", 9)

    def as_image_error(self, limits: PhotoLimits) -> ImageError:
        """Return the error for the sender of the photo."""
        if self.timed_out or self.signal == getattr(signal, "SIGPROF", -1):
            return ImageError(
                "unsupported",
                f"Decoding the photo takes more than {limits.processor_s:g} s of processor time or "
                f"{limits.wall_s:g} s in total. Save it again as JPEG or PNG.",
            )
        if self.may_be_external:
            return ImageError(
                "too_many_pixels",
                "The photo needs more memory than is available. Send a smaller one.",
            )
        return ImageError(
            "unsupported", "The photo crashes its decoder. Save it again as JPEG or PNG."
        )


class _Worker:
    """A worker process, used by one thread at a time and restarted after it ended."""

    def __init__(self, limits: PhotoLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = float("inf")
        self._timed_out = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def ensure_started(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
        # Without this, each thread of a decoder reserves an arena of address space.
        environment |= {"MALLOC_ARENA_MAX": "2"}
        limits = (str(self._limits.memory_mb), str(self._limits.processor_s))
        self._timed_out, self._deadline = False, time.monotonic() + _START_S
        self._process = subprocess.Popen(
            [sys.executable, "-m", "core.photos.worker", *limits],
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for stream in (self._process.stdin, self._process.stdout):
            set_pipe_size(cast("BinaryIO", stream), _PIPE_BYTES)
        self._receive(0)

    def prepare(self, data: bytes, request: Preparation) -> PreparedPhoto:
        if self._process is None or self._process.stdin is None:
            raise _WorkerEndedError(timed_out=False, signal_number=0)
        self._deadline = time.monotonic() + self._limits.wall_s
        try:
            write_message(cast("Any", self._process.stdin), request_to_header(request), data)
        except OSError:
            self._fail()
        header, body = self._receive(_max_response_bytes(request))
        return self._parse_response(header, body, request)

    def kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def kill_if_overdue(self) -> None:
        with self._lock:
            if self._process is not None and time.monotonic() > self._deadline:
                self._timed_out = True
                self._process.kill()

    def _receive(self, max_bytes: int) -> tuple[dict[str, Any], bytes]:
        process = self._process
        if process is None or process.stdout is None:
            raise _WorkerEndedError(timed_out=False, signal_number=0)
        try:
            received = read_message(cast("Any", process.stdout), max_bytes=max_bytes)
        except (EOFError, OSError, MessageError):
            self._fail()
        with self._lock:
            self._deadline, timed_out = float("inf"), self._timed_out
        if timed_out:
            self.end()  # the result arrived just as the process was killed
        return received

    def _fail(self) -> Any:
        """Kill the process, and raise the reason why it gave no result."""
        process = self._process
        code = 0
        if process is not None:
            # The pipes close a moment before the exit status is available.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.kill()
            code = process.wait()
        timed_out = self._timed_out
        self.end()
        raise _WorkerEndedError(timed_out=timed_out, signal_number=max(0, -code))

    def end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            self._timed_out, self._deadline = False, float("inf")
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()

    def _parse_response(
        self, header: dict[str, Any], body: bytes, request: Preparation
    ) -> PreparedPhoto:
        """Convert a worker's message, which is untrusted, to its result or its error."""
        code = header.get("code")
        if code is not None:
            valid_code = code if code in get_args(ImageErrorCode) else "unsupported"
            raise ImageError(cast("ImageErrorCode", valid_code), str(header.get("message"))[:500])
        try:
            crops, rest = _parse_pixels(header, "crops", body, 4, request.spec is not None)
            preview, rest = _parse_pixels(header, "preview", rest, 3, request.preview is not None)
            archival = rest[: int(header["archival"])] if request.archival else None
        except (KeyError, TypeError, ValueError):
            self._fail()
        return PreparedPhoto(crops, preview, archival)


def _parse_pixels(
    header: dict[str, Any], name: str, body: bytes, dimensions: int, request: bool
) -> tuple[NDArray[np.uint8] | None, bytes]:
    if not request:
        return None, body
    shape = tuple(int(n) for n in header[name])
    size = int(np.prod(shape))
    if len(shape) != dimensions or min(shape) < 1:
        raise ValueError(f"{name} of shape {shape}")
    return np.frombuffer(body, np.uint8, size).reshape(shape), body[size:]


def _max_response_bytes(request: Preparation) -> int:
    spec = request.spec
    inputs = 3 * spec.height * spec.width * 3 if spec is not None else 0
    preview = 3 * request.preview**2 if request.preview is not None else 0
    return inputs + preview + (_ARCHIVAL_BYTES if request.archival else 0)
