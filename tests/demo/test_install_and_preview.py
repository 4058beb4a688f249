"""The web manifest, the icons and the link preview."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from core import locale
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from demo.hosts import TrustedHosts
from tests.demo.running import served


@pytest.fixture(scope="module")
def predictor(catalog: Catalog) -> Iterator[LocalPredictor]:
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    yield predictor
    predictor.close()


@pytest.fixture(scope="module")
def url(predictor: LocalPredictor) -> Iterator[str]:
    with served(predictor) as address:
        yield address


def tags_of(url: str, **headers: str) -> dict[str, str]:
    """Return the content of the page's meta tags by property or name; each occurs once."""
    page = httpx.get(url, headers=headers).text.partition("<body")[0]
    found = re.findall(r'<meta\s+(?:property|name)="([^"]+)"\s+content="([^"]*)"', page)
    assert len(found) == len(dict(found))
    return {name: html.unescape(content) for name, content in found}


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


def test_page_is_compressed_for_clients_that_accept_it(url: str) -> None:
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    compressed = httpx.get(url)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.headers["Vary"] == "Accept-Encoding"
    assert compressed.text == plain.text
    assert int(compressed.headers["Content-Length"]) < len(plain.content) / 4


def test_unframed_page_does_not_load_the_frame_script(url: str) -> None:
    assert "iframeResizer" not in httpx.get(url).text.partition("<gradio-app")[0]


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_preview_describes_this_page_and_not_gradio(url: str, language: locale.Language) -> None:
    tags = tags_of(url, **{"Accept-Language": language})
    described = locale.page_texts(language)["preview"]
    assert tags["og:title"] == "TenSight"
    assert tags["og:description"] == tags["description"] == described
    assert tags["og:url"] == f"{url}/"
    assert tags["og:image"] == f"{url}/preview.png"
    assert not [each for each in tags.values() if "radio" in each]
    manifest = httpx.get(f"{url}/manifest.json", headers={"Accept-Language": language})
    assert manifest.json()["description"] == described


@pytest.mark.parametrize("host", ["other.example", "a/b", 'a"><script>', "127.0.0.1:1@x"])
def test_untrusted_host_is_not_repeated(url: str, host: str) -> None:
    tags = tags_of(url, Host=host)
    assert tags["og:title"] == "TenSight"
    assert "og:image" not in tags
    assert "og:url" not in tags


def test_forwarded_host_is_ignored(url: str) -> None:
    tags = tags_of(url, **{"X-Forwarded-Host": "other.example", "X-Forwarded-Proto": "https"})
    assert tags["og:image"] == f"{url}/preview.png"


def test_declared_proxy_passes_on_host_and_scheme(predictor: LocalPredictor) -> None:
    with served(predictor, proxies=1) as url:
        tags = tags_of(url, **{"Host": "photos.example", "X-Forwarded-Proto": "https"})
    assert tags["og:image"] == "https://photos.example/preview.png"


@pytest.mark.parametrize(
    ("listens_on", "options", "host", "origin"),
    [
        ("127.0.0.1", {}, "localhost:7860", "http://localhost:7860"),
        ("127.0.0.1", {}, "[::1]:7860", "http://[::1]:7860"),
        ("127.0.0.1", {}, "photos.example", None),
        ("127.0.0.1", {}, "127.0.0.1.photos.example", None),
        ("127.0.0.1", {"shared": True}, "photos.example", "http://photos.example"),
        ("127.0.0.1", {"proxies": 1}, "Photos.example", "http://photos.example"),
        ("0.0.0.0", {}, "photos.example", "http://photos.example"),  # noqa: S104
        ("0.0.0.0", {}, "photos.example/x", None),  # noqa: S104
    ],
)
def test_origin_is_returned_only_for_trusted_hosts(
    listens_on: str, options: dict[str, Any], host: str, origin: str | None
) -> None:
    scope = {"type": "http", "scheme": "http", "headers": [(b"host", host.encode())]}
    assert TrustedHosts(listens_on, **options).origin(scope) == origin
