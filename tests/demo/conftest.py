"""Fixtures of the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import gradio_client
import pytest

from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from tests.demo.running import served, serving


@pytest.fixture(scope="module")
def predictor(catalog: Catalog) -> Iterator[LocalPredictor]:
    """Return a predictor of the bundled models."""
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    yield predictor
    predictor.close()


@pytest.fixture(scope="module")
def url(predictor: LocalPredictor) -> Iterator[str]:
    """Return the address of a page."""
    with served(predictor) as address:
        yield address


@pytest.fixture(scope="module")
def client(predictor: LocalPredictor) -> Iterator[gradio_client.Client]:
    """Return a client of a page."""
    with serving(predictor) as client:
        yield client
