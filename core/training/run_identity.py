"""Identity of a training run, which decides whether a stored run can be resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from core.training.recipe import Recipe

__all__ = ["describe_recipe", "is_same_run"]

_DIGEST = re.compile(r"SHA-256 ([0-9a-f]+)")
# Fields that do not change the weights.
_COSMETIC = {
    *("title", "description", "family", "views", "precision", "saliency", "bundled", "offered"),
    *("teachable", "license", "notes", "reported"),
    # The run names the digest of these weights beside the recipe.
    "pretrained_body",
    # Added below where the recipe has them.
    *("plan", "step_scales", "build_head"),
}
# The same of a plan: the verdict is fitted to the trained network.
_COSMETIC_IN_PLAN = {"tiny_imagenet_weight"}
# Names of fields as state.json has them, so that runs of older code can be resumed.
_STORED_NAMES = {
    "side_schedule": "sides",
    "tiny_imagenet": "photos",
    "outliers_per_epoch": "outliers",
    "peak_rate": "peak",
    "final_rate": "last",
    "frozen_layers": "frozen",
    "known_fraction": "known_share",
    "none_fraction": "none_share",
    "blurred_fraction": "blurred",
    "shrunk_fraction": "shrunk",
    "sharpened_fraction": "sharpened",
    "stage_decay": "per_stage",
    "interpolations": "blends",
    "interpolation_rows": "blend_rows",
    "feature_views": "views",
    "held_out_sources": "left_out",
    "initial_factor": "first",
    "final_factor": "last",
    "ema_decay": "average",
}


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe that decide the weights, as JSON types; functions by name."""
    values = {
        field.name: getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name not in _COSMETIC
    }
    values |= {
        "build": recipe.build.__name__,
        "prepare": recipe.prepare.__name__ if recipe.prepare else None,
        "optimizer": {"kind": type(recipe.optimizer).__name__, **asdict(recipe.optimizer)},
        "input": recipe.input.model_dump(mode="json"),
    }
    if recipe.plan is not None:
        values |= {
            "plan": {
                name: value
                for name, value in asdict(recipe.plan).items()
                if name not in _COSMETIC_IN_PLAN
            },
            "scales": recipe.step_scales.__name__ if recipe.step_scales else None,
            "head": recipe.build_head.__name__ if recipe.build_head else None,
        }
    # A round trip, since state.json has lists in place of tuples.
    description: dict[str, Any] = json.loads(json.dumps(_renamed(values)))
    return description


def is_same_run(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Compare the identity of a stored run with that of the run that would resume it.

    Args:
        stored: Identity in state.json, possibly of an older version.
        identity: Identity of the run to resume.
    """
    return _normalised(stored) == _normalised(identity)


def _normalised(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Remove differences between versions: wording, and fields at defaults that were added."""
    identity = dict(identity)
    # The description of the user's own photos contains their digest; its wording may change.
    if extra := identity.get("extra"):
        identity["extra"] = _DIGEST.findall(extra)
    recipe = dict(identity.get("recipe", {}))
    if recipe.get("head") is None:
        recipe.pop("head", None)
    if plan := recipe.get("plan"):
        recipe["plan"] = {name: each for name, each in plan.items() if (name, each) != ("views", 0)}
    return identity | {"recipe": recipe}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_STORED_NAMES.get(name, name): _renamed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(each) for each in value]
    return value
