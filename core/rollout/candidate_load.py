"""Load the candidate of a canary in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from core.bundle.folder import Bundle
from core.inference.classifier import Classifier
from core.message_process import MessageProcess
from core.store.rollouts import Rollout

__all__ = ["CandidateLoad"]


class CandidateLoad:
    """Loads a candidate in a thread, since a worker process may take minutes for it.

    Args:
        rollout: The canary.
        bundle: The candidate.
        load: Loads it; arguments as those of `Catalog.load_candidate`.
    """

    def __init__(self, rollout: Rollout, bundle: Bundle, load: Callable[..., Classifier]) -> None:
        self.rollout = rollout
        self.bundle = bundle
        self._lock = threading.Lock()
        self._closed = False
        self._process: MessageProcess | None = None
        self._loaded: Future[Classifier] = Future()
        load = partial(load, bundle, on_start=self._on_start)
        self._thread = threading.Thread(target=self._run, args=(load,), name="load", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Return whether the candidate is loaded, or cannot be."""
        return self._loaded.done()

    def result(self) -> Classifier:
        """Return the candidate once it is loaded, or raise the error of loading it."""
        return self._loaded.result()

    def close(self) -> None:
        """End the worker process that is loading the candidate, if any."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.close()
        self._thread.join()

    def _on_start(self, process: MessageProcess) -> None:
        with self._lock:
            self._process = process
            closed = self._closed
        if closed:
            process.close()

    def _run(self, load: Callable[[], Classifier]) -> None:
        try:
            self._loaded.set_result(load())
        except Exception as error:  # noqa: BLE001  # raised to whoever takes the result
            self._loaded.set_exception(error)
