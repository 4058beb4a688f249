"""The web manifest and its pictures."""

from __future__ import annotations

from io import BytesIO

import httpx
import pytest
from PIL import Image


def test_manifest_and_icons_have_their_types_and_sizes(url: str) -> None:
    answer = httpx.get(f"{url}/manifest.json")
    assert answer.headers["Content-Type"] == "application/manifest+json"
    manifest = answer.json()
    assert (manifest["name"], manifest["display"]) == ("TenSight", "standalone")
    assert {each["sizes"] for each in manifest["icons"]} == {"192x192", "512x512"}
    for each in manifest["icons"]:
        icon = httpx.get(f"{url}/{each['src']}")
        assert icon.headers["Content-Type"] == each["type"] == "image/png"
        width, height = Image.open(BytesIO(icon.content)).size
        assert f"{width}x{height}" == each["sizes"]


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("apple-touch-icon.png", "image/png", (180, 180)),
        ("favicon.ico", "image/x-icon", (48, 48)),
        ("preview.png", "image/png", (1200, 630)),
    ],
)
def test_pictures_are_served(url: str, name: str, kind: str, size: tuple[int, int]) -> None:
    answer = httpx.get(f"{url}/{name}")
    assert answer.headers["Content-Type"] == kind
    assert Image.open(BytesIO(answer.content)).size == size
