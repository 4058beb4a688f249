"""Several bot processes over one PostgreSQL database, behind a proxy."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from core.settings import Settings
from core.store.database import Database
from core.store.lanes import same_lane
from core.store.tables import BOT_PROCESSES, INBOX, LANES
from tests.support.bot_process import start_process
from tests.support.forks import Fork
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import TelegramServer

__all__ = ["HOOK", "Replicas", "running_replicas", "start_replica"]

HOOK = "https://bot.example/hook"
_SECRET = "a key that all replicas share"
# A busy machine takes this long to start a process.
_START_S = 280


@dataclass
class Replicas:
    """Running processes, by number, and their names in the database.

    Attributes:
        database: The database that they share.
        processes: The processes; those that were killed are removed.
        owners: The name of each process.
    """

    database: Database
    processes: dict[int, Fork] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)

    def kill(self, number: int) -> set[tuple[int, int]]:
        """Kill a process; return chat and message of each update that it was handling."""
        process = self.processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: self._sessions(number) == 0, seconds=_START_S)
        select = (
            sa.select(INBOX.c.payload)
            .join(LANES, same_lane())
            .where(LANES.c.owner == self.owners[number])
            .where(INBOX.c.done_at.is_(None), INBOX.c.attempts > 0)
        )
        with self.database.read() as connection:
            messages = [
                json.loads(content)["message"] for content in connection.execute(select).scalars()
            ]
        return {(message["chat"]["id"], message["message_id"]) for message in messages}

    def names(self) -> set[str]:
        """Return the names of the processes on record."""
        with self.database.read() as connection:
            return set(connection.execute(sa.select(BOT_PROCESSES.c.owner)).scalars())

    def owned(self, number: int) -> int:
        """Return the number of chats that a process owns."""
        count = sa.select(sa.func.count()).where(LANES.c.owner == self.owners[number])
        with self.database.read() as connection:
            return int(connection.execute(count).scalar_one())

    def lanes(self) -> int:
        """Return the number of chats that wait for answers."""
        with self.database.read() as connection:
            return int(
                connection.execute(sa.select(sa.func.count()).select_from(LANES)).scalar_one()
            )

    def _sessions(self, number: int) -> int:
        count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
        with self.database.read() as connection:
            return int(connection.execute(count, {"name": f"bot{number}"}).scalar_one())


def start_replica(
    telegram: TelegramServer, folder: Path, url: str, number: int, *arguments: str
) -> Fork:
    """Start a bot process with a home of its own, as on another machine."""
    return start_process(
        telegram,
        folder / f"bot{number}",
        *arguments,
        TENSIGHT_DATABASE_URL=f"{url}&application_name=bot{number}",
        TENSIGHT_SECRET=_SECRET,
        TENSIGHT_LOG_LEVEL="INFO",
        # A busy machine may take longer for a photo than users would wait.
        TENSIGHT_DEADLINE_S="600",
        TENSIGHT_PHOTO_SECONDS="300",
    )


@contextmanager
def running_replicas(
    telegram: TelegramServer, folder: Path, url: str, n: int
) -> Iterator[Replicas]:
    """Run n webhook processes in this context."""
    settings = Settings(home=folder / "tests", database_url=SecretStr(url))
    with closing(Database.open(settings)) as database:
        replicas = Replicas(database)
        try:
            for number in range(n):
                port, known = free_port(), replicas.names()
                replicas.processes[number] = start_replica(
                    *(telegram, folder, url, number),
                    *("--webhook", HOOK, "--port", str(port)),
                )
                telegram.replicas.append(f"http://127.0.0.1:{port}/hook")
                wait_for(lambda: len(replicas.names()) > number, seconds=_START_S)  # noqa: B023
                (replicas.owners[number],) = replicas.names() - known
            wait_for(lambda: len(telegram.sent(None, "setWebhook")) >= n, seconds=_START_S)
            yield replicas
        finally:
            for process in replicas.processes.values():
                process.terminate()
            for process in replicas.processes.values():
                process.wait(120)
