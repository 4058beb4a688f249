"""The models of TENSIGHT_HUB_REPO come here in the background, while others answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.bundle.folder import BUNDLED
from core.errors import HubAwayError, HubError, TenSightError
from core.registry.revisions import Revisions
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import HubSource
    from core.store.store import Store

__all__ = ["FirstPull"]

# Seconds: between tries, at first and at most; between looks at what is live; and until the Hub
# counts as out of reach.
_PAUSES_S = (60.0, 3600.0)
_LOOK_S = 30.0
_PATIENCE_S = 10.0

logger = logging.getLogger(__name__)


class FirstPull:
    """Pulls where a repository is set and something is missing: at the first start, all of it.

    What was made live of nothing yet is promoted too. On another machine with the same database,
    what is live and what is the last good one are only brought here, whenever they are made so:
    from the commits that the database says they came from, also once the repository has moved on.
    (One that was made live by a TenSight that did not keep that is looked for in
    TENSIGHT_HUB_REVISION.) What does not come here so is an error, logged once with what to do.

    Without a network it tries again later; that is no error, and start is as fast as with one.

    Args:
        settings: `hub_repo` and what `releases.pull` uses.
        patience_s: Seconds after which the Hub counts as out of reach.
        pauses_s: Seconds between tries to bring the same here, at first and at most.
        look_s: Seconds between looks at what is live.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience_s: float = _PATIENCE_S,
        pauses_s: tuple[float, float] = _PAUSES_S,
        look_s: float = _LOOK_S,
    ) -> None:
        self._settings = settings
        self._revisions = Revisions(settings.home)
        self._patience_s = patience_s
        self._pauses_s = pauses_s
        self._look_s = look_s
        self._store: Store | None = None
        self._told = ""
        self._closed = threading.Event()
        if settings.hub_repo is not None:
            threading.Thread(target=self._run, name="first-pull", daemon=True).start()

    def close(self) -> None:
        """Try no more."""
        self._closed.set()

    def _run(self) -> None:
        tried: Mapping[tuple[str, str], HubSource | None] | None = {}
        pause, again_at, wait = self._pauses_s[0], 0.0, 0.0
        while not self._closed.wait(wait):
            wait = self._look_s
            with self._telling():
                missing = self._missing()
                if missing != tried:
                    tried, pause, again_at = missing, self._pauses_s[0], 0.0
                if missing == {}:
                    self._told = ""
                elif time.monotonic() < again_at:
                    wait = min(wait, max(again_at - time.monotonic(), 0.0))
                else:
                    try:
                        self._bring(missing)
                    finally:
                        # The pause differs, so that many do not come back at once.
                        delay = pause * random.uniform(0.5, 1.5)  # noqa: S311  # no secret
                        again_at = time.monotonic() + delay
                        pause = min(2 * pause, self._pauses_s[1])
                        wait = min(wait, delay)
        if self._store is not None:
            self._store.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except HubAwayError as error:
            logger.info("%s", error)
        except Exception as error:  # the edge of a thread: who runs it hears of it
            if str(error) != self._told:
                ours = None if isinstance(error, TenSightError) else error
                logger.error("The models of %s: %s", self._settings.hub_repo, error, exc_info=ours)
                self._told = str(error)

    def _missing(self) -> Mapping[tuple[str, str], HubSource | None] | None:
        """Models and revisions that should be here and are not, and where they came from.

        None where nothing was made live yet.
        """
        from core.store.store import Store  # noqa: PLC0415  # the database takes a while to import

        if self._store is None:
            self._store = Store.find(self._settings)
        live = self._store.live.all() if self._store is not None else {}
        if self._store is None or not live:
            return None
        needed = {(name, row.revision) for name, row in live.items()}
        spare = {(name, row.last_good) for name, row in live.items() if row.last_good is not None}
        missing = [(name, rev) for name, rev in needed | spare if not self._is_here(name, rev)]
        if not missing:
            return {}
        origins = self._store.live.sources()
        # One that nobody knows the origin of may be anywhere; it is not what answers.
        return {
            each: origins.get(each[1]) for each in missing if each in needed or each[1] in origins
        }

    def _bring(self, missing: Mapping[tuple[str, str], HubSource | None] | None) -> None:
        from core.registry import releases  # noqa: PLC0415  # the Hub's client takes a while, too

        if missing is None:
            releases.pull(self._settings, live="first", patience_s=self._patience_s)
            return
        problem: TenSightError | None = None
        for origin in set(missing.values()):
            try:
                releases.pull(
                    self._settings,
                    repo=origin.repo if origin else None,
                    revision=origin.commit if origin else None,
                    patience_s=self._patience_s,
                )
            except HubAwayError:
                raise
            except TenSightError as error:
                # The others may be had all the same.
                problem = error
        if problem is not None:
            raise problem
        if left := sorted(each for each in missing if not self._is_here(*each)):
            names = ", ".join(f"{name} {revision}" for name, revision in left)
            raise HubError(
                f"{names} should be here and could not be found in {self._settings.hub_repo} at "
                f"{self._settings.hub_revision}; another revision answers in its place. Bring it "
                "here with `tensight models pull --revision`, naming the tag or commit that it was "
                "pulled from, or make another one live with `tensight models promote`."
            )

    def _is_here(self, name: str, revision: str) -> bool:
        return revision == BUNDLED or self._revisions.path(name, revision).is_dir()
