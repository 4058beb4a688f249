"""Delete expired evidence of rollouts in processes that serve photos, with or without a bot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import StoreError
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.store import Store

__all__ = ["Retention"]

logger = logging.getLogger(__name__)


class Retention:
    """A daemon thread that deletes what shadows, canaries and drift kept, at once and every hour.

    The bot deletes this too, with data of its own; a page or a service may run without one.

    Args:
        settings: `retention_days` is used.
        find_store: Opens the database; None where there is none yet.
        every_s: Seconds between two deletions.
    """

    def __init__(
        self, settings: Settings, find_store: Callable[[], Store | None], every_s: float = 3600.0
    ) -> None:
        self._age = timedelta(days=settings.retention_days)
        self._find_store = find_store
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after a deletion in progress."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                store = self._find_store()
                if store is not None:
                    with closing(store):
                        store.purge_rollouts_before(datetime.now(UTC) - self._age)
            except StoreError as error:
                logger.warning("Expired evidence of rollouts could not be deleted: %s", error)
            except Exception:
                # One failure must not end the deletions.
                logger.exception("Expired evidence of rollouts could not be deleted")
            self._closed.wait(self._every_s)
