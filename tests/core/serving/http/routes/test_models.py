from __future__ import annotations

import httpx2

from core.registry.catalog import Catalog


def test_models_are_listed_and_described(url: str, catalog: Catalog) -> None:
    listed = httpx2.get(f"{url}/v1/models").json()
    assert listed["default"] == catalog.default()
    assert [row["name"] for row in listed["models"]] == [e.name for e in catalog.models()]
    whole = httpx2.get(f"{url}/v1/models/classic").json()
    assert whole["config"]["labels"] == list(catalog.load("classic").labels)
    assert httpx2.get(f"{url}/v1/models/nope").status_code == 404
