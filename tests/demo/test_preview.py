"""The link preview, and the head of the page."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from core import locale
from core.serving.local import LocalPredictor
from tests.demo.running import served


def tags_of(url: str, **headers: str) -> dict[str, str]:
    """Return the content of the page's meta tags by property or name; each occurs once."""
    page = httpx.get(url, headers=headers).text.partition("<body")[0]
    found = re.findall(r'<meta\s+(?:property|name)="([^"]+)"\s+content="([^"]*)"', page)
    assert len(found) == len(dict(found))
    return {name: html.unescape(content) for name, content in found}


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
def test_preview_describes_the_page_instead_of_gradio(url: str, language: locale.Language) -> None:
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
