"""Servers install the models of the Hub in the background."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from core.registry.catalog import Catalog
from tests.support import drawings
from tests.support.hub_server import HubServer, Repo
from tests.support.releases import (
    NAMES,
    REPO,
    SYNC,
    Installation,
    files_of,
    retitled,
    revisions_in,
)
from tests.support.servers import free_port, wait_for, wait_until_it_answers
from tests.support.telegram_server import TelegramServer


@pytest.mark.parametrize("cached", [False, True])
def test_server_starts_without_network_and_logs_nothing(
    installation: Installation, versions: dict[str, Path], black_hole: str, cached: bool
) -> None:
    expected = revisions_in(versions["bundled"])["classic"]
    if cached:
        installation.succeed("pull", "--promote")
        expected = revisions_in(versions["first"])["classic"]
    port = free_port()
    with installation.server("serve", "--port", str(port), HF_ENDPOINT=black_hole) as (server, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url, server, log)
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        # The Hub has not answered yet, and never will.
        assert revision_at(url) == expected
    said = [line for line in log.read_text().splitlines() if not line.startswith("INFO: ")]
    assert said == [f"TenSight answers on {url}"], "beside the engine's own line"


def revision_at(url: str) -> str:
    """Return the revision of `classic` that a service answers with."""
    buffer = BytesIO()
    drawings.ship(64, 48).save(buffer, "PNG")
    answer = httpx2.post(f"{url}/v1/predict?model=classic", content=buffer.getvalue())
    return str(answer.json()["revision"])


def test_server_stops_during_a_download(installation: Installation) -> None:
    installation.hub.faults.drip_s = 5
    asked = len(installation.hub.asked)
    with installation.server("serve", "--port", str(free_port())) as (process, _):
        wait_for(lambda: any(f"GET /lfs/{REPO}" in each for each in installation.hub.asked[asked:]))
        process.terminate()
        assert process.wait(60) == 0, "it does not wait for what it downloads"


def test_first_start_installs_and_promotes_all_models(
    installation: Installation, versions: dict[str, Path]
) -> None:
    process = installation.python(SYNC)
    wait_for(lambda: set(installation.live()) == set(NAMES))
    _, err = process.communicate(timeout=120)
    assert err == ""
    assert installation.serving() == revisions_in(versions["first"])


def test_next_start_requests_nothing(deployed: Installation, versions: dict[str, Path]) -> None:
    with HubServer().running() as hub:
        hub.repos[REPO] = Repo()
        hub.repos[REPO].commit(files_of(versions["second"]))
        process = deployed.python(SYNC, HF_ENDPOINT=hub.url)
        time.sleep(2)
        _, err = process.communicate(timeout=120)
        assert err == ""
        assert hub.asked == []


@pytest.fixture
def second_machine(deployed: Installation) -> Installation:
    """Return a machine with the database of the first, on which nothing was pulled yet.

    The second version is live, the first is the last good one; the Hub has moved on to a third.
    """
    deployed.succeed("pull", "--promote")
    other = replace(deployed, home=deployed.home.with_name("other"))
    other.home.mkdir()
    shutil.copy(deployed.settings.database_file, other.settings.database_file)
    third = deployed.home.parent / "third"
    shutil.copytree(deployed.models, third)
    for name in NAMES:
        retitled(third / name, "third")
    deployed.hub.repos[REPO].commit(files_of(third))
    return other


def test_second_machine_installs_live_revisions_from_their_commits(
    second_machine: Installation, versions: dict[str, Path]
) -> None:
    before = second_machine.live()
    process = second_machine.python(SYNC)
    wait_for(lambda: len(second_machine.installed()) == 4)
    _, err = process.communicate(timeout=120)
    assert err == ""
    assert second_machine.live() == before
    assert second_machine.serving() == revisions_in(versions["second"])
    second_machine.succeed("rollback", "classic")
    assert second_machine.serving()["classic"] == revisions_in(versions["first"])["classic"]


def test_running_second_machine_installs_next_promotion(
    deployed: Installation, second_machine: Installation, versions: dict[str, Path]
) -> None:
    shared = f"sqlite:///{deployed.settings.database_file}"
    catalog = Catalog(
        second_machine.settings.model_copy(update={"database_url": SecretStr(shared)})
    )
    process = second_machine.python(SYNC, TENSIGHT_DATABASE_URL=shared)
    wait_for(lambda: len(second_machine.installed()) == 4)
    assert catalog.load("classic").revision == revisions_in(versions["second"])["classic"]
    catalog.watch()
    deployed.succeed("pull", "--promote")
    third = {name: row.revision for name, row in deployed.live().items()}
    wait_for(lambda: set(third.items()) < set(second_machine.installed()))
    _, err = process.communicate(timeout=120)
    assert err == ""
    wait_for(lambda: catalog.load("classic").revision == third["classic"])
    catalog.close()


def test_failed_download_does_not_block_next_promotion(
    deployed: Installation, second_machine: Installation, versions: dict[str, Path]
) -> None:
    database = deployed.settings.database_file
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM origins")
    shared = {"TENSIGHT_DATABASE_URL": f"sqlite:///{database}", "PAUSE": "1000"}
    process = second_machine.python(SYNC, **shared)
    assert process.stderr is not None
    assert "is live or last good, but was not found" in process.stderr.readline()
    classic = revisions_in(versions["first"])["classic"]
    deployed.succeed("promote", "classic", classic)
    wait_for(lambda: ("classic", classic) in second_machine.installed())
    process.communicate(timeout=120)


def test_live_revision_of_unknown_source_is_logged_once(
    second_machine: Installation, versions: dict[str, Path]
) -> None:
    with closing(sqlite3.connect(second_machine.settings.database_file)) as connection, connection:
        connection.execute("DELETE FROM origins")
    revision = revisions_in(versions["second"])["classic"]
    asked = len(second_machine.hub.asked)
    process = second_machine.python(SYNC)
    assert process.stderr is not None
    told = process.stderr.readline()
    assert f"classic {revision} is live or last good, but was not found in {REPO} at main" in told
    assert "`tensight models pull --revision`" in told

    def tries() -> int:
        return sum(f"/{REPO}/revision/" in each for each in second_machine.hub.asked[asked:])

    wait_for(lambda: tries() >= 3)
    _, err = process.communicate(timeout=120)
    assert err == "", "not at every try"


def test_sync_continues_when_the_hub_is_back(
    installation: Installation, versions: dict[str, Path]
) -> None:
    installation.hub.faults.held = threading.Event()
    process = installation.python(SYNC, LEVEL="INFO", PATIENCE="0.3")
    assert process.stderr is not None
    for _ in range(2):  # past the deadline, twice
        told = process.stderr.readline()
        assert told.startswith("INFO:core.registry.sync:The Hub cannot be reached"), "no error"
    installation.hub.faults.held.set()
    wait_for(lambda: set(installation.live()) == set(NAMES))
    _, err = process.communicate(timeout=120)
    assert "ERROR" not in err
    assert "WARNING" not in err
    assert installation.serving() == revisions_in(versions["first"])


def test_offline_start_logs_no_error(installation: Installation) -> None:
    asked = len(installation.hub.asked)
    process = installation.python(SYNC, LEVEL="INFO", HF_HUB_OFFLINE="1")
    assert process.stderr is not None
    told = process.stderr.readline()
    assert told.startswith("INFO:core.registry.sync:HF_HUB_OFFLINE is set"), "no error"
    _, err = process.communicate(timeout=120)
    assert "ERROR" not in err
    assert len(installation.hub.asked) == asked


def test_bundled_models_serve_until_the_first_download(
    installation: Installation, versions: dict[str, Path]
) -> None:
    installation.hub.faults.held = held = threading.Event()
    asked = len(installation.hub.asked)
    port = free_port()
    with installation.server("serve", "--port", str(port)) as (process, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url, process, log)
        wait_for(lambda: len(installation.hub.asked) > asked)
        # Ready while the Hub is still waited for.
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        assert revision_at(url) == revisions_in(versions["bundled"])["classic"]
        assert len(installation.hub.asked) == asked + 1
        held.set()
        first = revisions_in(versions["first"])["classic"]
        wait_for(lambda: revision_at(url) == first)


def test_page_and_bot_install_models_at_first_start(installation: Installation) -> None:
    port = str(free_port())
    with TelegramServer().running() as telegram:
        token = {f"TENSIGHT_{k.upper()}": value for k, value in telegram.settings().items()}
        for command, more in ((["bot"], token), (["web", "--port", port], {})):
            with installation.server(*command, **more):
                wait_for(lambda: set(installation.live()) == set(NAMES))
            shutil.rmtree(installation.home)


def test_bot_with_remote_predictor_installs_nothing(installation: Installation) -> None:
    asked = len(installation.hub.asked)
    port = free_port()
    with TelegramServer().running() as telegram:
        settings = {f"TENSIGHT_{k.upper()}": value for k, value in telegram.settings().items()}
        settings |= {"TENSIGHT_PREDICTOR_URL": f"http://127.0.0.1:{port}"}
        with (
            installation.server("serve", "--port", str(port), TENSIGHT_HUB_REPO="") as (
                service,
                log,
            ),
            installation.server("bot", **settings) as (_, said),
        ):
            wait_until_it_answers(f"http://127.0.0.1:{port}", service, log)
            wait_for(lambda: " answers" in said.read_text())
            time.sleep(2)
    assert len(installation.hub.asked) == asked


def test_failed_first_download_is_logged(installation: Installation) -> None:
    process = installation.python(SYNC, TENSIGHT_HUB_REPO="owner/none")
    assert process.stderr is not None
    assert "Repository owner/none does not exist" in process.stderr.readline()
    process.kill()
    process.communicate()
