"""The models of TENSIGHT_HUB_REPO come here in the background, while the bundled ones answer."""

from __future__ import annotations

import logging
import random
import threading

from core.errors import HubAwayError, HubError, TenSightError
from core.revisions import BUNDLED, Revisions
from core.settings import Settings

__all__ = ["FirstPull"]

# Seconds: between tries, at first and at most; and until the Hub counts as out of reach.
_PAUSES_S = (60.0, 3600.0)
_PATIENCE_S = 10.0

logger = logging.getLogger(__name__)


class FirstPull:
    """Pulls where a repository is set and something is missing: at the first start, all of it.

    What was made live of nothing yet is promoted too. On another machine with the same database,
    what is live and what is the last good one are only brought here: from the commits that the
    database says they came from, also once the repository has moved on. (One that was made live by
    a TenSight that did not keep that is looked for in TENSIGHT_HUB_REVISION.) What does not come
    here so is an error, logged once with what to do.

    Without a network it tries again later; that is no error, and start is as fast as with one.

    Args:
        settings: `hub_repo` and what `releases.pull` uses.
        patience_s: Seconds after which the Hub counts as out of reach.
        pauses_s: Seconds between tries, at first and at most.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience_s: float = _PATIENCE_S,
        pauses_s: tuple[float, float] = _PAUSES_S,
    ) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._pauses_s = pauses_s
        self._closed = threading.Event()
        if settings.hub_repo is not None:
            threading.Thread(target=self._run, name="first-pull", daemon=True).start()

    def close(self) -> None:
        """Try no more."""
        self._closed.set()

    def _run(self) -> None:
        pause = self._pauses_s[0]
        told = ""
        while not self._closed.is_set():
            try:
                self._pull_if_missing()
                return
            except HubAwayError as error:
                logger.info("%s", error)
            except Exception as error:  # the edge of a thread: who runs it hears of it
                if str(error) != told:
                    ours = None if isinstance(error, TenSightError) else error
                    logger.error(
                        "The models of %s: %s", self._settings.hub_repo, error, exc_info=ours
                    )
                    told = str(error)
            # The pause differs, so that many do not come back at once.
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            pause = min(2 * pause, self._pauses_s[1])

    def _pull_if_missing(self) -> None:
        from core import releases  # noqa: PLC0415  # the Hub's client takes a while to import
        from core.store import Store  # noqa: PLC0415  # and so does the database

        store = Store.find(self._settings)
        live = store.live() if store is not None else {}
        origins = store.origins() if store is not None else {}
        if store is not None:
            store.close()
        if not live:
            releases.pull(self._settings, live="first", patience_s=self._patience_s)
            return
        needed = {(name, row.revision) for name, row in live.items()}
        # One that nobody knows the origin of may be anywhere; it is not what answers.
        needed |= {(name, row.last_good) for name, row in live.items() if row.last_good in origins}
        problem: TenSightError | None = None
        for origin in {origins.get(revision) for _, revision in self._missing(needed)}:
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
        if missing := self._missing(needed):
            names = ", ".join(f"{name} {revision}" for name, revision in missing)
            raise HubError(
                f"{names} should be here and could not be found in {self._settings.hub_repo} at "
                f"{self._settings.hub_revision}; another revision answers in its place. Bring it "
                "here with `tensight models pull --revision`, naming the tag or commit that it was "
                "pulled from, or make another one live with `tensight models promote`."
            )

    def _missing(self, needed: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of models and revisions, those that are not here."""
        revisions = Revisions(self._settings.home)
        return sorted(
            (name, revision)
            for name, revision in needed
            if revision != BUNDLED and not revisions.path(name, revision).is_dir()
        )
