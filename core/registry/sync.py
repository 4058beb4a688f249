"""Background download of the models of TENSIGHT_HUB_REPO, while installed models serve."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import HubError, HubUnavailableError, TenSightError
from core.registry.releases import Releases
from core.settings import Settings
from core.store.live import HubSource

__all__ = ["HubSync", "Timings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timings:
    """Intervals of the background download, in seconds.

    Attributes:
        timeout_s: Timeout for resolving a revision on the Hub.
        first_pause_s: First pause between retries; each following one is twice as long.
        max_pause_s: Longest pause between retries.
        poll_s: Interval of polling the live revisions.
    """

    timeout_s: float = 10.0
    first_pause_s: float = 60.0
    max_pause_s: float = 3600.0
    poll_s: float = 30.0


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
        settings: `hub_repo` and `hub_revision` are used.
        releases: Pulls and promotes.
        timings: Timeouts and intervals.
    """

    def __init__(
        self, settings: Settings, releases: Releases, timings: Timings | None = None
    ) -> None:
        self._settings = settings
        self._releases = releases
        self._timings = timings or Timings()
        self._logged = ""
        self._closed = threading.Event()
        if settings.hub_repo is not None:
            threading.Thread(target=self._run, name="hub-sync", daemon=True).start()

    def close(self) -> None:
        """Stop retrying. A download in progress is not interrupted."""
        self._closed.set()

    def _run(self) -> None:
        tried: Mapping[tuple[str, str], HubSource | None] | None = {}
        first_pause, max_pause = self._timings.first_pause_s, self._timings.max_pause_s
        pause, again_at, wait = first_pause, 0.0, 0.0
        while not self._closed.wait(wait):
            wait = self._timings.poll_s
            with self._log_errors():
                missing = self._missing()
                if missing != tried:
                    tried, pause, again_at = missing, first_pause, 0.0
                if missing == {}:
                    self._logged = ""
                elif time.monotonic() < again_at:
                    wait = min(wait, max(again_at - time.monotonic(), 0.0))
                else:
                    try:
                        self._install(missing)
                    finally:
                        # Random jitter keeps many machines from retrying at the same time.
                        delay = pause * random.uniform(0.5, 1.5)  # noqa: S311  # not security-relevant
                        again_at = time.monotonic() + delay
                        pause = min(2 * pause, max_pause)
                        wait = min(wait, delay)

    @contextmanager
    def _log_errors(self) -> Iterator[None]:
        try:
            yield
        except HubUnavailableError as error:
            logger.info("%s", error)
        except Exception as error:  # the top of a thread: errors are logged, not lost
            # After `close`, the database may be closed under a download in progress.
            if str(error) != self._logged and not self._closed.is_set():
                unexpected = None if isinstance(error, TenSightError) else error
                logger.error(
                    "Cannot install models from %s: %s",
                    self._settings.hub_repo,
                    error,
                    exc_info=unexpected,
                )
                self._logged = str(error)

    def _missing(self) -> Mapping[tuple[str, str], HubSource | None] | None:
        """Return the live and last good revisions that are not installed.

        Returns:
            The Hub commit of each (model, revision), None where it was not recorded; or None where
            no model was ever promoted.
        """
        live = self._releases.live()
        if not live:
            return None
        needed = {(name, row.revision) for name, row in live.items()}
        spare = {(name, row.last_good) for name, row in live.items() if row.last_good is not None}
        missing = [each for each in needed | spare if not self._releases.is_installed(*each)]
        if not missing:
            return {}
        sources = self._releases.sources()
        # A last good revision without a recorded commit is skipped: it may be in any repository,
        # and it does not serve now.
        return {
            each: sources.get(each[1]) for each in missing if each in needed or each[1] in sources
        }

    def _install(self, missing: Mapping[tuple[str, str], HubSource | None] | None) -> None:
        timeout_s = self._timings.timeout_s
        if missing is None:
            self._releases.pull(live="first", timeout_s=timeout_s)
            return
        problem: TenSightError | None = None
        for source in set(missing.values()):
            try:
                self._releases.pull(
                    repo=source.repo if source else None,
                    revision=source.commit if source else None,
                    timeout_s=timeout_s,
                )
            except HubUnavailableError:
                raise
            except TenSightError as error:
                # Other commits may still be available.
                problem = error
        if problem is not None:
            raise problem
        if left := sorted(each for each in missing if not self._releases.is_installed(*each)):
            names = ", ".join(f"{name} {revision}" for name, revision in left)
            raise HubError(
                f"{names} is live or last good, but was not found in {self._settings.hub_repo} at "
                f"{self._settings.hub_revision}; a fallback revision serves instead. Install it "
                "with `tensight models pull --revision` and the tag or commit that it was pulled "
                "from, or promote another revision with `tensight models promote`."
            )
