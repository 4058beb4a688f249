"""Recipes of the project."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import ModelNotFoundError, TrainingError
from core.teaching.base import BASE_MODEL
from core.training.recipes import get_recipe


def test_unknown_recipe_error_lists_recipes() -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no recipe 'clasic'\. Recipes: baseline, classic, "
    ):
        get_recipe("clasic")


def test_classifiers_can_be_taught_on_a_newly_trained_base() -> None:
    assert get_recipe(BASE_MODEL).teachable
    with pytest.raises(TrainingError, match="real photos"):
        replace(get_recipe("classic"), teachable=True)
