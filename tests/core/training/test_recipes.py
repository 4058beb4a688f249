"""Recipes of the project."""

from __future__ import annotations

import pytest

from core.errors import ModelNotFoundError
from core.training.recipes import get_recipe


def test_unknown_recipe_error_lists_recipes() -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no recipe 'clasic'\. Recipes: baseline, classic, "
    ):
        get_recipe("clasic")
