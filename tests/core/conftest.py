"""Fixtures of the tests of predictors, the HTTP service and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.registry.catalog import Catalog
from core.settings import Settings
from tests.support.http_service import MODELS, serving


@pytest.fixture(scope="module")
def url(catalog: Catalog) -> Iterator[str]:
    """Return the address of a service with the models of this repository."""
    with serving(Settings(models=MODELS), catalog) as address:
        yield address


@pytest.fixture
def jpeg(photo: Path) -> bytes:
    """Return the bytes of a JPEG file of a drawn ship."""
    return photo.read_bytes()
