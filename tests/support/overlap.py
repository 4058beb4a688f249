"""Two transactions of a PostgreSQL database that overlap in a known order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import sqlalchemy as sa

from core.settings import Settings
from core.store.store import Store
from tests.support.servers import wait_for

_WAITING = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def overlap(
    settings: Settings, first: Callable[[Store], object], second: Callable[[Store], object]
) -> None:
    """Write by two processes, of which one is at the commit while the other one writes.

    Args:
        settings: Settings with a PostgreSQL database.
        first: Writes in one transaction, which is committed once `second` has ended, or waits.
        second: Writes after the statements of `first`.
    """
    running: list[Future[object]] = []
    with (
        closing(Store.open(settings)) as one,
        closing(Store.open(settings)) as other,
        closing(Store.open(settings)) as watching,
        ThreadPoolExecutor(1) as pool,
    ):

        def has_ended_or_waits() -> bool:
            with watching.database.read() as connection:
                waits = connection.execute(sa.text(_WAITING)).first() is not None
            return waits or running[0].done()

        def before_commit(_: sa.Connection) -> None:
            if not running:
                running.append(pool.submit(second, other))
                wait_for(has_ended_or_waits)

        sa.event.listen(one.database.engine, "commit", before_commit)
        first(one)
        running[0].result(60)
