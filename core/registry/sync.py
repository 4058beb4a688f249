"""Background download of the models of TENSIGHT_HUB_REPO, while installed models serve."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.bundle.folder import BUNDLED
from core.errors import HubError, HubUnavailableError, TenSightError
from core.registry.revisions import RevisionStore
from core.settings import Settings

if TYPE_CHECKING:
    from core.store.live import HubSource
    from core.store.store import Store

__all__ = ["HubSync"]

# In seconds: first and longest pause between retries, interval of polling the live revisions, and
# timeout of the Hub.
_PAUSES_S = (60.0, 3600.0)
_LOOK_S = 30.0
_PATIENCE_S = 10.0

logger = logging.getLogger(__name__)


class HubSync:
    """A daemon thread that installs missing models from the Hub; without `hub_repo` it is idle.

    Where no model was ever promoted, all models of the repository are pulled and promoted. Where
    the database names live and last good revisions that are not installed, as on a second machine
    with the same database, these are installed from the commits recorded in the database, even if
    the branch has moved on. (Revisions promoted by a version of TenSight that did not record the
    commit are looked up in TENSIGHT_HUB_REVISION.) A revision that cannot be found is logged once
    as an error.

    Network failures are retried with exponential backoff, logged as information, and do not delay
    the start.

    Args:
        settings: `hub_repo` and those that `releases.pull` uses.
        patience_s: Timeout in seconds for resolving a revision on the Hub.
        pauses_s: First and longest pause between retries, in seconds.
        look_s: Interval of polling the live revisions, in seconds.
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
        self._revisions = RevisionStore(settings.home)
        self._patience_s = patience_s
        self._pauses_s = pauses_s
        self._look_s = look_s
        self._store: Store | None = None
        self._told = ""
        self._closed = threading.Event()
        if settings.hub_repo is not None:
            threading.Thread(target=self._run, name="first-pull", daemon=True).start()

    def close(self) -> None:
        """Stop retrying. A download in progress is not interrupted."""
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
                        # Random jitter keeps many machines from retrying at the same time.
                        delay = pause * random.uniform(0.5, 1.5)  # noqa: S311  # not security-relevant
                        again_at = time.monotonic() + delay
                        pause = min(2 * pause, self._pauses_s[1])
                        wait = min(wait, delay)
        if self._store is not None:
            self._store.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except HubUnavailableError as error:
            logger.info("%s", error)
        except Exception as error:  # the top of a thread: errors are logged, not lost
            if str(error) != self._told:
                ours = None if isinstance(error, TenSightError) else error
                logger.error(
                    "Cannot install models from %s: %s",
                    self._settings.hub_repo,
                    error,
                    exc_info=ours,
                )
                self._told = str(error)

    def _missing(self) -> Mapping[tuple[str, str], HubSource | None] | None:
        """Return the live and last good revisions that are not installed.

        Returns:
            The Hub commit of each (model, revision), None where it was not recorded; or None where
            no model was ever promoted.
        """
        from core.store.store import Store  # noqa: PLC0415  # SQLAlchemy is slow to import

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
        # A last good revision without a recorded commit is skipped: it may be in any repository,
        # and it does not serve now.
        return {
            each: origins.get(each[1]) for each in missing if each in needed or each[1] in origins
        }

    def _bring(self, missing: Mapping[tuple[str, str], HubSource | None] | None) -> None:
        from core.registry import releases  # noqa: PLC0415  # huggingface_hub is slow to import

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
            except HubUnavailableError:
                raise
            except TenSightError as error:
                # Other commits may still be available.
                problem = error
        if problem is not None:
            raise problem
        if left := sorted(each for each in missing if not self._is_here(*each)):
            names = ", ".join(f"{name} {revision}" for name, revision in left)
            raise HubError(
                f"{names} is live or last good, but was not found in {self._settings.hub_repo} at "
                f"{self._settings.hub_revision}; a fallback revision serves instead. Install it "
                "with `tensight models pull --revision` and the tag or commit that it was pulled "
                "from, or promote another revision with `tensight models promote`."
            )

    def _is_here(self, name: str, revision: str) -> bool:
        return revision == BUNDLED or self._revisions.path(name, revision).is_dir()
