"""The web manifest, by which browsers offer to install the page, and its icons."""

from __future__ import annotations

import functools
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core import locale
from demo.artwork import THEME_COLOR, as_ico, as_png, draw_icon, draw_preview
from demo.context import language_of

__all__ = ["APPLE_ICON", "ICON", "MANIFEST", "PREVIEW", "routes"]

MANIFEST = "manifest.json"
ICON = "icon-192.png"
APPLE_ICON = "apple-touch-icon.png"
PREVIEW = "preview.png"

_DAY = "public, max-age=86400"
_PICTURES: dict[str, tuple[str, Callable[[], bytes]]] = {
    ICON: ("image/png", lambda: as_png(draw_icon(192))),
    "icon-512.png": ("image/png", lambda: as_png(draw_icon(512))),
    "icon-maskable-512.png": ("image/png", lambda: as_png(draw_icon(512, full_bleed=True))),
    # iOS rounds the corners, and paints transparent pixels black.
    APPLE_ICON: ("image/png", lambda: as_png(draw_icon(180, full_bleed=True))),
    "favicon.ico": ("image/x-icon", lambda: as_ico(draw_icon(48))),
    PREVIEW: ("image/png", lambda: as_png(draw_preview())),
}


def routes() -> list[Route]:
    """Return the routes of the manifest, the icons and the picture of link previews.

    They come before Gradio's own, which show Gradio's logo.
    """
    pictures = [Route(f"/{name}", _picture, methods=["GET"]) for name in _PICTURES]
    return [Route(f"/{MANIFEST}", _manifest, methods=["GET"]), *pictures]


def _manifest(request: Request) -> Response:
    language = language_of(request)
    manifest = {
        # Without it, a change of `start_url` would make browsers treat the page as another app.
        "id": "./",
        "name": "TenSight",
        "short_name": "TenSight",
        "description": locale.page_texts(language)["preview"],
        "lang": language,
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "theme_color": THEME_COLOR,
        "background_color": "#ffffff",
        "icons": [
            {"src": ICON, "sizes": "192x192", "type": "image/png"},
            {"src": "icon-512.png", "sizes": "512x512", "type": "image/png"},
            {
                "src": "icon-maskable-512.png",
                "sizes": "512x512",
                "type": "image/png",
                "purpose": "maskable",
            },
        ],
    }
    headers = {"Cache-Control": _DAY, "Vary": "Accept-Language"}
    return JSONResponse(manifest, headers=headers, media_type="application/manifest+json")


def _picture(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    return Response(_drawn(name), media_type=_PICTURES[name][0], headers={"Cache-Control": _DAY})


@functools.cache
def _drawn(name: str) -> bytes:
    return _PICTURES[name][1]()
