"""Configuration files of a cluster: Ray Serve, KubeRay, and Caddy in front of both.

Ray's proxies read whole requests before the limits of the service apply, so their port is internal;
Caddy has the limits of docs/SECURITY.md. No file contains a secret: replicas read their settings
from their environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from core.photos.decode import MAX_BYTES
from core.serving.http.body_limit import MAX_FORM_BYTES, BodyLimits
from core.serving.http.connections import ConnectionLimits
from core.serving.replicas import (
    APPLICATION,
    DEPLOYMENT,
    LOGGING,
    PROCESSORS_PER_REPLICA,
    Replicas,
    deployment_options,
)
from core.settings import Settings
from core.sockets import format_address

__all__ = [
    "REQUEST_TIMEOUT_S",
    "caddyfile",
    "config_files",
    "kubernetes_manifest",
    "serve_config",
]

_SLOWEST_UPLOAD_S = int(BodyLimits(1).grace_s) + MAX_BYTES // BodyLimits(1).bytes_per_s
REQUEST_TIMEOUT_S = _SLOWEST_UPLOAD_S + 60
"""Time limit of a request in Ray's proxies: the slowest upload of a photo, and its answer."""

# Ray's port in pods, which KubeRay expects.
_PORT = 8000
_CADDY_PORT = 8080
_NAME = "tensight"
_HEALTH = "/readyz"
# docs/SECURITY.md, "Operations", for one processor, and Ray's own processes.
_REPLICA_MEMORY = "3Gi"
_HEAD_MEMORY = "4Gi"


def config_files(
    replicas: Replicas,
    settings: Settings,
    *,
    image: str,
    ray_version: str,
    check: Callable[[dict[str, Any]], None],
) -> dict[str, str]:
    """Return the content of all configuration files by name.

    Args:
        replicas: Number of replicas.
        settings: `host` and `service_port`, and as for `deployment_options`.
        image: As for `kubernetes_manifest`.
        ray_version: As for `kubernetes_manifest`.
        check: Raises an error where a configuration does not match the schema of Ray Serve.
    """
    machines = serve_config(replicas, settings, host=settings.host, port=settings.service_port)
    pods = serve_config(replicas, settings, host="0.0.0.0", port=_PORT)  # noqa: S104  # Caddy's pods
    for each in (machines, pods):
        check(each)
    manifest = kubernetes_manifest(
        replicas, image=image, ray_version=ray_version, serve=_as_yaml(pods)
    )
    upstream = format_address(settings.host, settings.service_port)
    return {
        "serve.yaml": _as_yaml(machines),
        "Caddyfile": caddyfile(upstream, f":{_CADDY_PORT}"),
        "rayservice.yaml": "---\n".join(map(_as_yaml, manifest)),
    }


def serve_config(replicas: Replicas, settings: Settings, *, host: str, port: int) -> dict[str, Any]:
    """Return a Ray Serve configuration, as for `serve deploy`.

    Args:
        replicas: Number of replicas.
        settings: As for `deployment_options`.
        host: Address that Ray's proxies bind to.
        port: Port that they bind to.
    """
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port, "request_timeout_s": REQUEST_TIMEOUT_S},
        "logging_config": LOGGING,
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "core.serving.cluster:application",
                "deployments": [{"name": DEPLOYMENT} | deployment_options(replicas, settings)],
            }
        ],
    }


def caddyfile(upstream: str, address: str) -> str:
    """Return a configuration of Caddy with the limits of docs/SECURITY.md.

    Args:
        upstream: Host and port of Ray's proxies.
        address: Site address of Caddy: a domain name, or `:PORT` for plain HTTP.
    """
    limits = ConnectionLimits()
    return f"""\
# Limits in front of Ray's proxies, whose port must not be reachable past this server:
# docs/SECURITY.md, "Connections". Start the replicas with TENSIGHT_PROXIES=1.
{{
	servers {{
		max_header_size {limits.head_bytes // 1024}KiB
		timeouts {{
			read_header {limits.head_s:g}s
			# The slowest upload of a photo: {BodyLimits(1).grace_s:g} s, and 1 s for each 32 KiB.
			read_body {_SLOWEST_UPLOAD_S}s
			write {_SLOWEST_UPLOAD_S + 60}s
			idle {limits.idle_s}s
		}}
	}}
}}

{address} {{
	# The routes of Ray's proxies themselves, and those for monitoring.
	@internal path /-/* /metrics /healthz /readyz
	respond @internal 404

	@forms header Content-Type multipart/form-data*
	request_body @forms {{
		max_size {MAX_FORM_BYTES // 2**20}MiB
	}}
	@photos not header Content-Type multipart/form-data*
	request_body @photos {{
		max_size {MAX_BYTES // 2**20}MiB
	}}
	# Otherwise the replica could refuse such a body first, and break off the connection to Caddy.
	@declared_too_large {{
		not header Content-Type multipart/form-data*
		expression `{{header.Content-Length}} != "" && int({{header.Content-Length}}) > {MAX_BYTES}`
	}}
	respond @declared_too_large 413

	reverse_proxy {upstream} {{
		health_uri {_HEALTH}
		health_interval 5s
		health_timeout 5s
		lb_try_duration 5s
		lb_try_interval 100ms
		transport http {{
			dial_timeout 1s
			keepalive 30s
		}}
	}}
}}
"""


def kubernetes_manifest(
    replicas: Replicas, *, image: str, ray_version: str, serve: str
) -> list[dict[str, Any]]:
    """Return the objects of a RayService (KubeRay 1.5.1 or newer) with Caddy in front.

    The pods of Ray accept connections from each other, from the operator and from Caddy alone. They
    read their settings from the secret `tensight`, which the manifest does not contain.

    Args:
        replicas: Number of replicas; each gets a pod.
        image: Container image with TenSight and its extras `cluster` and `postgres`.
        ray_version: Version of Ray in that image.
        serve: The configuration of Ray Serve, as YAML.
    """
    workers = {
        "groupName": "replicas",
        "replicas": replicas.minimum,
        "minReplicas": replicas.minimum,
        "maxReplicas": replicas.maximum,
        "rayStartParams": {"num-cpus": str(PROCESSORS_PER_REPLICA)},
        "template": _pod("ray-worker", image, _REPLICA_MEMORY),
    }
    cluster = {
        "rayVersion": ray_version,
        # The operator makes the token, and hands it to all pods.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": replicas.minimum != replicas.maximum,
        "headGroupSpec": {
            # The head runs no replicas.
            "rayStartParams": {"num-cpus": "0"},
            "template": _pod("ray-head", image, _HEAD_MEMORY),
        },
        "workerGroupSpecs": [workers],
    }
    return [
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": _NAME},
            "spec": {"serveConfigV2": serve, "rayClusterConfig": cluster},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{_NAME}-caddy"},
            "data": {"Caddyfile": caddyfile(f"{_NAME}-serve-svc:{_PORT}", f":{_CADDY_PORT}")},
        },
        _caddy_deployment(),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{_NAME}-caddy"},
            "spec": {
                "selector": _CADDY_LABELS,
                "ports": [{"name": "http", "port": 80, "targetPort": _CADDY_PORT}],
            },
        },
        _network_policy(),
    ]


_RAY_LABELS = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/component": "ray"}
_CADDY_LABELS = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/component": "caddy"}
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(name: str, image: str, memory: str) -> dict[str, Any]:
    """Return the template of a pod of Ray."""
    container = {
        "name": name,
        "image": image,
        "env": [
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
            # Requests pass Caddy.
            {"name": "TENSIGHT_PROXIES", "value": "1"},
            {"name": "TENSIGHT_HOME", "value": "/data"},
        ],
        "envFrom": [{"secretRef": {"name": _NAME}}],
        "resources": {
            "requests": {"cpu": str(PROCESSORS_PER_REPLICA), "memory": memory},
            "limits": {"memory": memory},
        },
        "securityContext": _CONFINED,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "metadata": {"labels": _RAY_LABELS},
        "spec": {
            "securityContext": {"fsGroup": 1000},
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }


def _caddy_deployment() -> dict[str, Any]:
    container = {
        "name": "caddy",
        "image": "docker.io/library/caddy:2",
        "ports": [{"name": "http", "containerPort": _CADDY_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": _CONFINED | {"readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/caddy"},
            {"name": "state", "mountPath": "/data"},
            {"name": "state", "mountPath": "/config"},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{_NAME}-caddy"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _CADDY_LABELS},
            "template": {
                "metadata": {"labels": _CADDY_LABELS},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [container],
                    "volumes": [
                        {"name": "config", "configMap": {"name": f"{_NAME}-caddy"}},
                        {"name": "state", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def _network_policy() -> dict[str, Any]:
    """Return a policy that opens to pods of Ray, Caddy and KubeRay the ports that each needs."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{_NAME}-ray"},
        "spec": {
            "podSelector": {"matchLabels": _RAY_LABELS},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": _RAY_LABELS}}]},
                {
                    "from": [{"podSelector": {"matchLabels": _CADDY_LABELS}}],
                    "ports": [{"protocol": "TCP", "port": _PORT}],
                },
                {
                    # The operator, in any namespace, sends the configuration to the dashboard.
                    "from": [
                        {
                            "namespaceSelector": {},
                            "podSelector": {
                                "matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}
                            },
                        }
                    ],
                    "ports": [
                        {"protocol": "TCP", "port": 8265},
                        {"protocol": "TCP", "port": _PORT},
                    ],
                },
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat values that occur twice."""
        del data
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def _as_yaml(value: dict[str, Any]) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100)
    return text
