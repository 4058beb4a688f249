"""Replicas with Ray Serve. They run where the extra `cluster` is installed: `make test-cluster`."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from core.registry.catalog import Catalog
from core.registry.releases import Releases
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.http_service import PATIENCE_S, post
from tests.support.hub_server import HubServer, Repo
from tests.support.processes import is_running
from tests.support.ray_cluster import (
    START_S,
    Cluster,
    Load,
    listening_addresses,
    need_ray,
    running_cluster,
)
from tests.support.ray_failures import PHOTOS, Failure, kill_one, outcome_of, replace_all
from tests.support.releases import NAMES, REPO, Installation, files_of, retitled, revisions_in
from tests.support.servers import wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run two replicas with the models of this repository."""
    need_ray()
    with running_cluster(tmp_path_factory.mktemp("cluster") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    """Return photos that differ."""
    photos = []
    for side in (320, 480, 640, 960):
        path = Path(os.environ["TENSIGHT_HOME"]).parent / f"{side}.jpg"
        drawings.ship(side, side * 3 // 4).save(path, quality=90)
        photos.append(path.read_bytes())
    return photos


def scores_in_process(catalog: Catalog, photos: list[bytes]) -> list[dict[str, float]]:
    classifier = catalog.load("classic")
    return [dict(classifier.predict(photo).scores) for photo in photos]


def test_replicas_return_the_numbers_of_the_process(
    cluster: Cluster, catalog: Catalog, photos: list[bytes]
) -> None:
    expected = scores_in_process(catalog, photos)
    for photo, scores in zip(photos, expected, strict=True):
        for _ in range(3):
            answer = post(cluster.url, content=photo, params={"model": "classic"})
            assert answer.json()["scores"] == pytest.approx(scores, abs=1e-5)


def test_metrics_are_shown_for_each_replica_and_summed(cluster: Cluster, jpeg: bytes) -> None:
    assert len(cluster.ready_replicas()) == 2
    before = cluster.total("tensight_cluster_photos_total")
    for _ in range(10):
        post(cluster.url, content=jpeg, params={"model": "classic"})
    assert cluster.total("tensight_cluster_photos_total") == before + 10
    assert cluster.total("tensight_photos_total") == before + 10


def test_errors_have_the_json_format_of_the_service(cluster: Cluster) -> None:
    answer = post(cluster.url, content=b"no photo")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_an_image"


def test_ports_of_ray_are_on_loopback_or_require_the_token(cluster: Cluster) -> None:
    grpc = pytest.importorskip("grpc")
    assert (cluster.home / "ray-token").stat().st_mode & 0o777 == 0o600
    assert listening_addresses(cluster.processes())
    # A replica's port for other replicas is on all interfaces, whatever is set.
    others = set(cluster.processes()) - set(cluster.replicas())
    assert [each for each in listening_addresses(others) if not is_loopback(each)] == []
    open_to_all = [
        each for each in listening_addresses(cluster.replicas()) if not is_loopback(each)
    ]
    for address in open_to_all:
        with grpc.insecure_channel(f"127.0.0.1:{address.rpartition(':')[2]}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=PATIENCE_S)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("failure", [kill_one, replace_all])
def test_clients_lose_no_photo_while_replicas_fail(
    cluster: Cluster, catalog: Catalog, photos: list[bytes], failure: Failure
) -> None:
    expected = scores_in_process(catalog, photos)
    outcome = outcome_of(failure, cluster, photos, expected, timeout_s=PATIENCE_S)
    sys.stdout.write(f"{failure.__name__}: {outcome}\n")  # shown by `pytest -rP`
    assert outcome.photos >= PHOTOS
    assert outcome.failures > 0
    assert not outcome.lost
    assert outcome.wrong == 0


def test_stopping_ends_every_process(tmp_path: Path) -> None:
    need_ray()
    with running_cluster(tmp_path / "home", replicas="1") as cluster:
        processes = cluster.processes()
        assert processes
    wait_for(lambda: not any(map(is_running, processes)))


def test_replicas_are_added_under_load(tmp_path: Path, photos: list[bytes]) -> None:
    need_ray()
    # Scales beyond two requests a replica.
    environment = {"TENSIGHT_QUEUE_SIZE": "4"}
    with running_cluster(tmp_path / "home", replicas="1-2", environment=environment) as cluster:
        load = Load(cluster.url, photos, clients=4)
        with load.running():
            cluster.wait_until_ready(2)


def test_models_come_from_the_hub_and_promotions_reach_all_replicas(tmp_path: Path) -> None:
    """Nothing is lost while both replicas change to the promoted revision."""
    need_ray()
    versions = {}
    for version in ("bundled", "first", "second"):
        versions[version] = tmp_path / version
        for name in NAMES:
            shutil.copytree(ROOT / "models" / name, versions[version] / name)
            retitled(versions[version] / name, f"{name}, {version}")
    with HubServer().running() as hub:
        hub.repos[REPO] = Repo()
        hub.repos[REPO].commit(files_of(versions["first"]))
        installation = Installation(hub, tmp_path / "home", versions["bundled"])
        photo = Image.effect_noise((64, 64), 50).convert("RGB")
        path = tmp_path / "photo.png"
        photo.save(path)
        scores = Catalog(installation.settings).load("classic").predict(path).scores
        with running_cluster(
            installation.home, environment=installation.environment | {"HF_HUB_OFFLINE": "0"}
        ) as cluster:
            wait_for(lambda: serving(cluster, revisions_in(versions["first"])), seconds=START_S)
            hub.repos[REPO].commit(files_of(versions["second"]))
            load = Load(cluster.url, [path.read_bytes()], clients=2)
            with load.running():
                installation.succeed("pull", "--promote")
                wait_for(lambda: serving(cluster, revisions_in(versions["second"])))
                with closing(Releases(installation.settings)) as releases:
                    releases.roll_back("classic")
                first = revisions_in(versions["first"])["classic"]
                wait_for(lambda: serving(cluster, {"classic": first}))
            load.check([dict(scores)])


def serving(cluster: Cluster, revisions: dict[str, str]) -> bool:
    """Return whether both replicas serve these revisions."""
    metrics = cluster.metrics()
    for name, revision in revisions.items():
        labels = rf'model="{name}",revision="{revision}"'
        if not re.search(
            rf"^tensight_cluster_live_revision\{{{labels}\}} 2\.0$", metrics, re.MULTILINE
        ):
            return False
    return True


def is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::1", "::ffff:127."))
