"""Replicas with Ray Serve. They run where the extra `cluster` is installed: `make test-cluster`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.registry.releases import Releases
from core.serving.heads import LocalHeads
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.serving.teaching import connect_teaching
from core.settings import Settings
from core.teaching.collect import LabelledPhoto
from core.teaching.service import find_teaching_base
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.caddy import cluster_proxy_running
from tests.support.drawings import shape_jpeg
from tests.support.http_service import MODELS, PATIENCE_S, port_of, post
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


def test_front_teaches_on_embeddings_of_replicas(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    front = Settings(models=MODELS, home=tmp_path / "front", threads=1)
    heads = LocalHeads(Catalog(front))
    drawn = [
        LabelledPhoto(name, shape_jpeg(name, seed), f"{name} {seed}")
        for name in ("circle", "square")
        for seed in range(4)
    ]
    with closing(RemotePredictor(cluster.url, timeout_s=PATIENCE_S, heads=heads)) as predictor:
        with closing(connect_teaching(front, predictor)) as connected:
            model = connected.teaching.create("chat:1", "Shapes", drawn)
        assert model.record is not None
        photo = shape_jpeg("square", 9)
        prediction = asyncio.run(predictor.predict(photo, model=model.record.id, saliency=True))
    assert prediction.label == "square"
    assert prediction.saliency is not None


def test_replica_returns_the_embedding_of_the_process(
    cluster: Cluster, catalog: Catalog, photos: list[bytes]
) -> None:
    base = find_teaching_base(Settings(models=MODELS)).reference
    with (
        closing(RemotePredictor(cluster.url, timeout_s=PATIENCE_S)) as remote,
        closing(LocalPredictor(catalog, queue_size=4, deadline_s=PATIENCE_S)) as local,
    ):
        there = asyncio.run(remote.embed(photos[0], base, features=True))
        here = asyncio.run(local.embed(photos[0], base, features=True))
    np.testing.assert_allclose(there.vector, here.vector, atol=1e-5)
    assert there.features is not None
    assert here.features is not None
    np.testing.assert_allclose(there.features, here.features, atol=1e-5)


def test_caddy_keeps_limits_and_internal_routes_from_ray(
    cluster: Cluster, jpeg: bytes, tmp_path: Path
) -> None:
    """Ray's proxy answers its own routes, and takes bodies of any size."""
    assert httpx2.get(f"{cluster.url}/-/routes", timeout=PATIENCE_S).status_code == 200
    with cluster_proxy_running(tmp_path, f"127.0.0.1:{port_of(cluster.url)}") as front:
        answer = post(front, content=jpeg, params={"model": "classic"})
        assert answer.json()["model"] == "classic"
        for path in ("/-/routes", "/-/healthz", "/metrics"):
            assert httpx2.get(front + path, timeout=PATIENCE_S).status_code == 404
        assert post(front, content=bytes(MAX_BYTES + 1)).status_code == 413


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
            wait_for(lambda: cluster.serves(revisions_in(versions["first"])), seconds=START_S)
            hub.repos[REPO].commit(files_of(versions["second"]))
            load = Load(cluster.url, [path.read_bytes()], clients=2)
            with load.running():
                installation.succeed("pull", "--promote")
                wait_for(lambda: cluster.serves(revisions_in(versions["second"])))
                with closing(Releases(installation.settings)) as releases:
                    releases.roll_back("classic")
                began_at = time.monotonic()
                first = revisions_in(versions["first"])["classic"]
                wait_for(lambda: cluster.serves({"classic": first}))
                seconds = time.monotonic() - began_at
            load.check([dict(scores)])
    sys.stdout.write(  # shown by `pytest -rP`
        f"A rollback reached both replicas after {seconds:.2f} s; of {len(load.answers):,} photos "
        "none was lost.\n"
    )


def is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::1", "::ffff:127."))
