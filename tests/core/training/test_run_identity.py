"""Identity of a run, by which it can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace

from core.settings import Settings
from core.training.classification_task import ClassificationTask
from core.training.recipe import Recipe
from core.training.recipes import get_recipe
from core.training.run_identity import describe_recipe, is_same_run
from tests.support import made
from tests.support.fitting import DATA, VALIDATION


def test_cosmetic_fields_keep_the_identity() -> None:
    recipe = made.recipe()

    def identity(recipe: Recipe) -> object:
        return ClassificationTask(
            recipe=recipe,
            classes=3,
            seed=5,
            settings=Settings(),
            data=DATA,
            validation=VALIDATION,
        ).identity

    other = replace(recipe, title="another", offered=not recipe.offered, views=("identity",))
    assert identity(other) == identity(recipe)
    assert identity(replace(recipe, crop_padding=3)) != identity(recipe)


def test_identity_has_the_keys_of_older_runs() -> None:
    plan = describe_recipe(get_recipe("transfer"))["plan"]
    assert set(plan) == {
        *("phases", "frozen", "known_share", "none_share", "near_kinds", "near_weight"),
        *("blurred", "blurred_sides", "shrunk", "sharpened", "probe_rows", "probe_c"),
        *("per_stage", "blends", "blend_rows", "views", "left_out"),
    }
    assert set(plan["phases"][0]) == {"epochs", "side", "rows", "peak", "last", "warm_up"}
    scratch = describe_recipe(get_recipe("scratch"))
    assert {"sides", "photos", "outliers", "outlier_weight"} < set(scratch)
    assert {"kind", "warm_up", "first", "last"} < set(scratch["optimizer"])
    tuned = describe_recipe(get_recipe("efficientnet"))
    assert set(tuned["optimizer"]) == {"kind", "anchor", "average", "clip_norm"}
    assert (tuned["prepare"], tuned["scales"], tuned["head"]) == ("_lite2", "_lite2_scales", None)


def test_run_of_an_older_version_is_recognised() -> None:
    identity = {
        "recipe": describe_recipe(get_recipe("efficientnet")),
        "extra": "2 photos of the user's own (SHA-256 0123456789ab)",
        "seed": 0,
    }
    older = json.loads(json.dumps(identity))
    del older["recipe"]["head"], older["recipe"]["plan"]["views"]
    older["extra"] = "2 photos of a folder of one's own (SHA-256 0123456789ab)"
    assert is_same_run(older, identity)
    older["recipe"]["epochs"] += 1
    assert not is_same_run(older, identity)
