"""Replicas with Ray Serve on several machines, and the loss of one, as docs/SCALING.md says."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.registry.catalog import Catalog
from tests.conftest import ROOT, need
from tests.support import drawings, postgres
from tests.support.hub_server import HubServer, Repo
from tests.support.ray_cluster import START_S, Load, need_ray
from tests.support.ray_nodes import Machines, machines
from tests.support.releases import NAMES, REPO, Installation, files_of, retitled, revisions_in
from tests.support.servers import wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@dataclass
class Site:
    """Two machines with one database, and the Hub that their models come from.

    Attributes:
        machines: The machines, of which two are started.
        operator: A machine outside of the cluster, with the same database.
        environment: Settings that all of them share.
        revisions: The revisions of the models on the Hub, which are not on the machines.
    """

    machines: Machines
    operator: Installation
    environment: dict[str, str]
    revisions: dict[str, str]

    def wait_until_ready(self) -> None:
        """Wait until two replicas answer."""
        wait_for(lambda: len(self.machines.service.ready_replicas()) == 2, seconds=START_S)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run the service on two machines."""
    need_ray()
    need("postgres", postgres.is_there(), "Debian's package postgresql is not installed")
    bundled, newer = tmp_path / "bundled", tmp_path / "newer"
    for name in NAMES:
        for folder in (bundled, newer):
            shutil.copytree(ROOT / "models" / name, folder / name)
        retitled(newer / name, f"{name}, newer")
    with HubServer().running() as hub, postgres.running() as server:
        hub.repos[REPO] = Repo()
        hub.repos[REPO].commit(files_of(newer))
        operator = Installation(hub, tmp_path / "operator", bundled)
        shared = operator.environment | {
            "HF_HUB_OFFLINE": "0",
            "TENSIGHT_DATABASE_URL": server.database(),
            "TENSIGHT_MODEL": "classic",
            "TENSIGHT_PROXIES": "1",
            "TENSIGHT_SECRET": "a key that all machines share",
        }
        with machines(tmp_path / "machines", shared) as several:
            several.deploy_on_new_machines()
            yield Site(several, operator, shared, revisions_in(newer))


@pytest.fixture
def load(site: Site, tmp_path: Path) -> Load:
    """Return clients of the service that have not started."""
    photo = tmp_path / "photo.jpg"
    drawings.ship(320, 240).save(photo, quality=90)
    return Load(site.machines.service.url, [photo.read_bytes()], clients=4)


def more_answers(load: Load) -> None:
    """Wait until the clients have got some more answers."""
    before = len(load.answers)
    wait_for(lambda: len(load.answers) >= before + 40, seconds=START_S)


def test_lost_machine_is_replaced_and_no_photo_is_lost(
    site: Site, load: Load, catalog: Catalog
) -> None:
    several, service = site.machines, site.machines.service
    expected = [dict(catalog.load("classic").predict(photo).scores) for photo in load.photos]
    site.wait_until_ready()
    with load.running():
        more_answers(load)
        site.operator.succeed("pull", "--promote", **site.environment)
        wait_for(lambda: service.serves(site.revisions), seconds=START_S)
        several.lose(several.started[1])
        more_answers(load)
        wait_for(lambda: len(service.ready_replicas()) == 1, seconds=START_S)
        more_answers(load)
        began_at = time.monotonic()
        several.join()
        wait_for(lambda: service.serves(site.revisions), seconds=START_S)
        seconds = time.monotonic() - began_at
        more_answers(load)
    load.check(expected)
    sys.stdout.write(  # shown by `pytest -rP`
        f"{len(load.answers):,} photos were answered, none was lost; a new machine served the "
        f"promoted models {seconds:.0f} s after the command.\n"
    )


def test_service_is_started_again_after_the_loss_of_the_first_machine(
    site: Site, load: Load, catalog: Catalog
) -> None:
    several = site.machines
    expected = [dict(catalog.load("classic").predict(photo).scores) for photo in load.photos]
    site.wait_until_ready()
    first, other = several.started
    several.lose(first)
    several.lose(other)  # In place of `ray stop`, which stops every cluster of this machine.
    several.deploy_on_new_machines()
    site.wait_until_ready()
    with load.running():
        more_answers(load)
    load.check(expected)


def test_written_configuration_is_deployed_and_shut_down(tmp_path: Path) -> None:
    need_ray()
    own = {"PYTHONPATH": str(ROOT), "TENSIGHT_PROXIES": "1"}
    with machines(tmp_path / "machines", own) as several:
        first = several.start_cluster()
        token, service = several.folder / "token", several.service
        with_token = f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token}\n"
        several.run(
            f"{with_token}tensight cluster config --replicas 2 {first}/files\n"
            f"serve deploy {first}/files/serve.yaml",
            first,
        )
        wait_for(lambda: len(service.ready_replicas()) == 2, seconds=START_S)
        several.run(f"{with_token}serve shutdown --yes", first)
        wait_for(lambda: not service.ready_replicas(), seconds=START_S)
