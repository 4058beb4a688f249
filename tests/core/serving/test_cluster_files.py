"""The configuration files of a cluster, and the limits of Caddy in front of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import yaml

from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.cluster_files import REQUEST_TIMEOUT_S, config_files
from core.serving.replicas import Replicas
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.caddy import cluster_proxy_running
from tests.support.forks import Fork
from tests.support.http_service import MODELS, PATIENCE_S, port_of, post, serving
from tests.support.kuberay import RAY_SERVICE
from tests.support.ray_cluster import need_ray


def files(replicas: Replicas, **settings: Any) -> dict[str, str]:
    return config_files(
        replicas,
        Settings(**settings),
        image="registry.example/tensight:1",
        ray_version="2.60.0",
        check=lambda _: None,
    )


def objects(manifest: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all(manifest)}


def test_serve_config_names_the_application() -> None:
    config = yaml.safe_load(files(Replicas(2, 8), service_port=9000)["serve.yaml"])
    assert config["http_options"] == {
        "host": "127.0.0.1",
        "port": 9000,
        "request_timeout_s": REQUEST_TIMEOUT_S,
    }
    (application,) = config["applications"]
    assert application["import_path"] == "core.serving.cluster:application"
    (deployment,) = application["deployments"]
    assert deployment["autoscaling_config"]["max_replicas"] == 8


def test_ray_service_has_a_pod_for_each_replica_and_a_token() -> None:
    found = objects(files(Replicas(2, 8))["rayservice.yaml"])
    assert set(found) == {"RayService", "ConfigMap", "Deployment", "Service", "NetworkPolicy"}
    spec = found["RayService"]["spec"]
    cluster = spec["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["replicas"], workers["maxReplicas"]) == (2, 2, 8)
    serve = yaml.safe_load(spec["serveConfigV2"])
    assert serve["http_options"]["host"] == "0.0.0.0"  # noqa: S104  # in its pod


@pytest.mark.parametrize("replicas", [Replicas(1, 1), Replicas(2, 8)])
def test_ray_service_has_fields_of_kuberay_alone(replicas: Replicas) -> None:
    jsonschema.validate(objects(files(replicas)["rayservice.yaml"])["RayService"], RAY_SERVICE)


def test_pods_of_ray_are_confined_and_reached_through_caddy_alone() -> None:
    found = objects(files(Replicas(1, 1))["rayservice.yaml"])
    cluster = found["RayService"]["spec"]["rayClusterConfig"]
    assert not cluster["enableInTreeAutoscaling"]
    policy = found["NetworkPolicy"]["spec"]
    selector = policy["podSelector"]["matchLabels"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        template = group["template"]
        assert selector.items() <= template["metadata"]["labels"].items()
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    caddy = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert caddy == found["Service"]["spec"]["selector"]
    (from_caddy,) = (
        rule
        for rule in policy["ingress"]
        if rule["from"] == [{"podSelector": {"matchLabels": caddy}}]
    )
    assert from_caddy["ports"] == [{"protocol": "TCP", "port": 8000}]


def test_files_contain_no_secret() -> None:
    secret = "secret-of-sixteen"
    written = files(
        Replicas(1, 1),
        api_keys=secret,
        hub_token=secret,
        database_url=f"postgresql://a:{secret}@b/c",
    )
    assert secret not in "".join(written.values())


def test_config_command_writes_a_new_folder(tmp_path: Path) -> None:
    need_ray()
    folder = tmp_path / "cluster"
    command = [sys.executable, "-m", "core.cli", "cluster", "config", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    written = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(written) == {"serve.yaml", "rayservice.yaml", "Caddyfile"}
    again = subprocess.run(
        [*command, "--replicas", "1"], capture_output=True, text=True, check=False, env=environment
    )
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == written


def test_files_match_the_schema_of_ray_serve() -> None:
    need_ray()
    from core.serving.cluster import check_serve_config

    for replicas in (Replicas(1, 1), Replicas(2, 8)):
        written = files(replicas)
        check_serve_config(yaml.safe_load(written["serve.yaml"]))
        spec = objects(written["rayservice.yaml"])["RayService"]["spec"]
        check_serve_config(yaml.safe_load(spec["serveConfigV2"]))


def test_config_command_needs_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'ray' else found(name)\n"
        "from core.cli import main\n"
        "main.main()\n"
    )
    for command in (["cluster", "config", str(tmp_path / "new")], ["serve", "--engine", "ray"]):
        with Fork(["-c", program, *command], os.environ, stderr=subprocess.PIPE) as run:
            _, errors = run.communicate()
        assert run.returncode == 1
        assert "needs the extra 'cluster', which is not installed" in errors
        assert "make cluster" in errors
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Iterator[str]:
    """Return the address of Caddy in front of a service."""
    settings = Settings(models=MODELS, proxies=1)
    with (
        serving(settings, catalog) as url,
        cluster_proxy_running(
            tmp_path_factory.mktemp("caddy"), f"127.0.0.1:{port_of(url)}"
        ) as address,
    ):
        yield address


def test_photos_pass_caddy(front: str, jpeg: bytes) -> None:
    answer = post(front, content=jpeg, params={"model": "classic"})
    assert answer.json()["model"] == "classic"
    form = post(front, files={"photo": ("a.jpg", jpeg)}, params={"model": "classic"})
    assert form.json()["predictions"][0]["model"] == "classic"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/-/healthz", "/-/routes"])
def test_internal_routes_do_not_pass_caddy(front: str, path: str) -> None:
    assert httpx2.get(front + path, timeout=PATIENCE_S).status_code == 404


def test_large_photo_is_stopped_by_caddy(front: str) -> None:
    body = bytes(MAX_BYTES + 1)
    answer = post(front, content=body, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 413


def test_large_head_is_stopped_by_caddy(front: str) -> None:
    answer = httpx2.get(f"{front}/v1/models", headers={"X": "x" * 40_000}, timeout=PATIENCE_S)
    assert answer.status_code == 431


def test_incomplete_head_is_cut_off_by_caddy(front: str) -> None:
    with socket.create_connection(("127.0.0.1", port_of(front)), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n")
        received = b""
        while piece := client.recv(4096):
            received += piece
    assert b" 200 " not in received
