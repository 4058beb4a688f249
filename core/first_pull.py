"""The models of TENSIGHT_HUB_REPO come here in the background, while the bundled ones answer."""

from __future__ import annotations

import logging
import random
import threading

from core.errors import HubAwayError
from core.revisions import BUNDLED, Revisions
from core.settings import Settings

__all__ = ["FirstPull"]

# Seconds between tries, at first and at most.
_PAUSES_S = (60.0, 3600.0)

logger = logging.getLogger(__name__)


class FirstPull:
    """Pulls where a repository is set and something is missing: at the first start, all of it.

    What was made live of nothing yet is promoted too. On another machine with the same database,
    what is live is only brought here. Without a network it tries again later; that is no error, and
    start is as fast as with one.

    Args:
        settings: `hub_repo` and what `releases.pull` uses.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = threading.Event()
        if settings.hub_repo is not None:
            threading.Thread(target=self._run, name="first-pull", daemon=True).start()

    def close(self) -> None:
        """Try no more."""
        self._closed.set()

    def _run(self) -> None:
        pause = _PAUSES_S[0]
        told = ""
        while not self._closed.is_set():
            try:
                self._pull_if_missing()
                return
            except HubAwayError as error:
                logger.info("%s", error)
            except Exception as error:  # noqa: BLE001  # the edge of a thread: who runs it hears of it
                if str(error) != told:
                    logger.error("The models of %s: %s", self._settings.hub_repo, error)
                    told = str(error)
            # The pause differs, so that many do not come back at once.
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            pause = min(2 * pause, _PAUSES_S[1])

    def _pull_if_missing(self) -> None:
        from core import releases  # noqa: PLC0415  # the Hub's client takes a while to import
        from core.store import Store  # noqa: PLC0415  # and so does the database

        store = Store.find(self._settings)
        live = store.live() if store is not None else {}
        if store is not None:
            store.close()
        revisions = Revisions(self._settings.home)
        here = all(
            row.revision == BUNDLED or revisions.path(name, row.revision).is_dir()
            for name, row in live.items()
        )
        if not live or not here:
            releases.pull(self._settings, live="first")
