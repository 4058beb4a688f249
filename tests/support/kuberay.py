"""Schema of a RayService, from the fields in the API reference of KubeRay 1.5.1."""

from __future__ import annotations

from typing import Any

__all__ = ["RAY_SERVICE"]


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Describe an object that has no other properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANY = {"type": "object"}
_QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"},
}
_VARIABLE = _object({"name": _TEXT, "value": _TEXT, "valueFrom": _ANY}, "name")
_CONTAINER = _object(
    {
        "name": _TEXT,
        "image": _TEXT,
        "env": {"type": "array", "items": _VARIABLE},
        "envFrom": {"type": "array", "items": _ANY},
        "ports": {"type": "array", "items": _ANY},
        "resources": _object({"requests": _QUANTITIES, "limits": _QUANTITIES}),
        "securityContext": _ANY,
        "volumeMounts": {
            "type": "array",
            "items": _object({"name": _TEXT, "mountPath": _TEXT}, "name", "mountPath"),
        },
    },
    "name",
    "image",
)
_POD = _object(
    {
        "metadata": _object({"labels": _TEXTS}),
        "spec": _object(
            {
                "containers": {"type": "array", "items": _CONTAINER, "minItems": 1},
                "securityContext": _ANY,
                "volumes": {"type": "array", "items": _ANY},
            },
            "containers",
        ),
    },
    "spec",
)
_WORKERS = _object(
    {
        "groupName": _TEXT,
        "replicas": _NUMBER,
        "minReplicas": _NUMBER,
        "maxReplicas": _NUMBER,
        "rayStartParams": _TEXTS,
        "template": _POD,
    },
    *("groupName", "minReplicas", "maxReplicas", "template"),
)
_CLUSTER = _object(
    {
        "rayVersion": _TEXT,
        "authOptions": _object({"mode": {"enum": ["disabled", "token"]}}),
        "enableInTreeAutoscaling": _FLAG,
        "headGroupSpec": _object({"rayStartParams": _TEXTS, "template": _POD}, "template"),
        "workerGroupSpecs": {"type": "array", "items": _WORKERS},
    },
    "headGroupSpec",
)

RAY_SERVICE = _object(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayService"},
        "metadata": _object({"name": _TEXT}, "name"),
        "spec": _object({"serveConfigV2": _TEXT, "rayClusterConfig": _CLUSTER}),
    },
    *("apiVersion", "kind", "metadata", "spec"),
)
"""JSON schema, restricted to the fields that TenSight writes."""
