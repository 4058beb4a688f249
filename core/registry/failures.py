"""Problems with models, each logged and passed on once."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["FailureListener", "FailureLog"]

logger = logging.getLogger(__name__)

FailureListener = Callable[[str], None]
"""Receives a sentence about a problem with a model, once each; called from any thread."""


class FailureLog:
    """Logs each problem as an error and calls the listeners, once for each message."""

    def __init__(self) -> None:
        self._logged: set[str] = set()
        self._listeners: list[FailureListener] = []

    def add_listener(self, listener: FailureListener) -> None:
        """Call a function for each problem that is logged from now on."""
        self._listeners.append(listener)

    def remove_listener(self, listener: FailureListener) -> None:
        """Undo `add_listener`."""
        self._listeners.remove(listener)

    def report(self, problem: str) -> None:
        """Log a problem and call the listeners, unless the same message was logged before."""
        if problem in self._logged:
            return
        self._logged.add(problem)
        logger.error(problem)
        for listener in list(self._listeners):
            try:
                listener(problem)
            except Exception:
                logger.exception("A listener for model failures failed")

    def forget(self, text: str) -> None:
        """Treat messages that contain a text as new the next time that they are reported."""
        self._logged = {each for each in self._logged if text not in each}
