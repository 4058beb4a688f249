"""Backup, restore, restarts and failures as docs/SCALING.md describes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT, need
from tests.support import postgres
from tests.support.caddy import proxy_running
from tests.support.scaling_page import commands_of, run_block
from tests.support.servers import wait_for
from tests.support.service_replicas import replica
from tests.support.stand_ins import stand_ins
from tests.support.tools import require


def set_flag(settings: Settings, value: bool) -> None:
    """Set a flag in the database."""
    with closing(Store.open(settings)) as store:
        store.flags.set("backed-up", on=value)


def flag_of(settings: Settings) -> bool:
    """Return the flag."""
    with closing(Store.open(settings)) as store:
        return store.flags.get("backed-up")


def test_sqlite_database_is_restored_by_the_documented_commands(tmp_path: Path) -> None:
    require("sqlite3")
    settings = Settings()
    backup, restore = commands_of("SQLite")
    set_flag(settings, True)
    with closing(Store.open(settings)):  # a process that runs
        assert run_block(backup, TENSIGHT_HOME=str(settings.home)) == "ok\n"
    set_flag(settings, False)
    run_block(restore, TENSIGHT_HOME=str(settings.home))
    assert flag_of(settings)
    for file in (tmp_path / "tensight-backup.db", settings.database_file):
        assert file.stat().st_mode & 0o077 == 0


def test_postgresql_database_is_restored_by_the_documented_commands(tmp_path: Path) -> None:
    need("postgres", postgres.is_there(), "Debian's package postgresql is not installed")
    backup, restore = commands_of("PostgreSQL")
    with postgres.running() as server:
        urls = [server.database() for _ in range(2)]
        first, second = (Settings(database_url=url) for url in urls)
        set_flag(first, True)
        with closing(Store.open(first)):  # a process that runs
            run_block(backup, DATABASE=urls[0].replace("+psycopg", ""))
        set_flag(first, False)
        for settings, url in ((first, urls[0]), (second, urls[1])):
            run_block(restore, DATABASE=url.replace("+psycopg", ""))
            assert flag_of(settings)
    assert (tmp_path / "tensight-backup.dump").stat().st_mode & 0o077 == 0


def test_database_of_compose_is_restored_by_the_documented_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("postgres", postgres.is_there(), "Debian's package postgresql is not installed")
    backup, restore = commands_of("Compose")
    calls: list[list[str]] = []
    with postgres.running() as server, stand_ins(tmp_path / "bin", calls.append) as path:
        settings = Settings(database_url=server.database("tensight"))
        monkeypatch.setenv("PGHOST", str(server.folder))
        set_flag(settings, True)
        run_block(backup, PATH=path)
        set_flag(settings, False)
        run_block(restore, PATH=path)
        assert flag_of(settings)
    stopped, started = (call[4:] for call in calls)
    services = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text("utf-8"))["services"]
    ours = {name for name, service in services.items() if service["image"] == "tensight"}
    assert (stopped[0], set(stopped[1:])) == ("stop", ours)
    assert started == ["up", "--detach"]


class Clients:
    """Clients that send photos one after another, as page and bot do."""

    def __init__(self) -> None:
        self.answers = 0
        self.errors: list[Exception] = []


@contextmanager
def clients_of(url: str, photo: bytes, many: int) -> Iterator[Clients]:
    """Send photos while the context is open."""
    clients, ended = Clients(), threading.Event()

    async def send(predictor: RemotePredictor) -> None:
        while not ended.is_set():
            try:
                prediction = await predictor.predict(photo)
                assert prediction.model == "classic"
                clients.answers += 1
            except Exception as error:  # noqa: BLE001  # shown by the test
                clients.errors.append(error)

    async def send_all(predictor: RemotePredictor) -> None:
        await asyncio.gather(*(send(predictor) for _ in range(many)))

    with closing(RemotePredictor(url, timeout_s=120)) as predictor:
        thread = threading.Thread(target=asyncio.run, args=(send_all(predictor),))
        thread.start()
        try:
            yield clients
        finally:
            ended.set()
            thread.join(300)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_photo_is_lost_while_replicas_are_upgraded_and_killed(
    tmp_path: Path, photo: Path
) -> None:
    require("curl")
    with (
        replica(tmp_path) as first,
        replica(tmp_path) as second,
        proxy_running(tmp_path, services=[first.address, second.address]) as proxy,
        clients_of(proxy.internal, photo.read_bytes(), 4) as clients,
    ):
        restarted: list[str] = []

        def restart(command: list[str]) -> None:
            """Do what systemd or Compose does for the last argument."""
            restarted.append(command[-1])
            each = {"1": first, "2": second}[command[-1][-1]]
            each.restart()
            if "--wait" in command:
                each.wait_until_ready()

        def more_answers() -> None:
            before = clients.answers
            wait_for(lambda: clients.answers >= before + 20, seconds=300)

        more_answers()
        with stand_ins(tmp_path / "bin", restart) as path:
            for block in commands_of("Upgrade without a gap"):
                run_block(block.replace("127.0.0.1:8001", first.address), PATH=path)
                second.wait_until_ready()
                more_answers()
        assert restarted == ["tensight-serve@1", "tensight-serve@2", "service-1", "service-2"]
        first.kill()
        more_answers()
        first.restart()
        first.wait_until_ready()
        more_answers()
    assert not clients.errors
