"""The head of the page: title, description, card of link previews, and first sizes."""

from __future__ import annotations

import html
import re

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import locale
from demo.artwork import PREVIEW_SIZE, THEME_COLOR
from demo.context import language_of
from demo.hosts import TrustedHosts
from demo.manifest import APPLE_ICON, ICON, MANIFEST, PREVIEW
from demo.preload import preload_links

__all__ = ["PageHead"]

# Gradio's tags describe Gradio, with a picture of another site; and its link to the manifest leads
# past a path that the page is served below.
_GRADIOS = re.compile(
    rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*'
    rb'|<link rel="manifest"[^>]*>\s*'
)
# A script that adapts the height of a frame of another site, as the Hub shows a Space in.
_RESIZER = re.compile(
    rb"<script>(?:(?!</script>).)*iframeResizer(?:(?!</script>).)*</script>\s*", re.DOTALL
)
# Gradio's script loads the style sheet late and renders components in any order. What stands below
# one that is not there yet is hidden until it is, so that nothing shifts in view.
_PLACES = (
    "<style>"
    ".gradio-container{width:100%!important;max-width:1100px!important;margin:0 auto!important}"
    "#head{flex-direction:column;gap:1rem}#head>*{flex:none;width:100%}"
    "@media(min-width:701px){#predict-row{min-height:420px}}"
    # Title and introduction of a desktop stand in one row.
    "@media(min-width:901px){#predict-row{min-height:480px}"
    "#head{flex-flow:row nowrap;align-items:center;height:2.4rem}#head>#title{width:auto}"
    "#head>#intro{flex:1;width:auto}}"
    # The tabs of a phone stand in one row, which scrolls where a language has long names.
    "@media(max-width:700px){.tabs .tab-container.wrap{justify-content:space-between;"
    "flex-wrap:nowrap!important;overflow-x:auto!important;scrollbar-width:none}"
    ".tabs .tab-container button{padding:0 .25rem;font-size:.75rem;flex:none}}"
    "body:not(:has(#intro p)) .tabs,"
    "body:not(:has(#predict-row #photo)) :is(#examples-title,#examples,#options)"
    "{visibility:hidden}"
    "</style>"
)
_BEGINNING = re.compile(rb"<head>\s*(?:<meta charset=[^>]*>)?")


class PageHead:
    """Writes the page's own title, description and preview into its head, in place of Gradio's.

    It also sets there the sizes that keep the page from shifting while it loads, and compresses the
    page: Gradio compresses only paths with the name of a file.

    URLs in a preview must be absolute. They are built from the request's Host header if that is
    trusted; otherwise the preview has no picture.

    Args:
        app: Gradio's application, before its responses are compressed.
        hosts: Validates Host headers.
        root_path: Path, or whole address, that a proxy serves the page below.
        framed: Whether pages of another site show the page in a frame.
    """

    def __init__(
        self, app: ASGIApp, hosts: TrustedHosts, root_path: str = "", *, framed: bool = False
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._root_path = root_path.rstrip("/")
        self._framed = framed
        self._preloaded = preload_links().encode()
        self._compressed = GZipMiddleware(self._rewritten, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self._app(scope, receive, send)
        else:
            await self._compressed(scope, receive, send)

    async def _rewritten(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the page."""
        start: Message | None = None
        body = b""

        async def rewrite(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body", False) or start is None:
                return
            content = body
            if dict(start["headers"]).get(b"content-type", b"").startswith(b"text/html"):
                content = self._with_head(body, Request(scope))
            headers = [each for each in start["headers"] if each[0] != b"content-length"]
            headers.append((b"content-length", str(len(content)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, rewrite)

    def _with_head(self, page: bytes, request: Request) -> bytes:
        head, end, rest = page.partition(b"</head>")
        if not self._framed:
            head = _RESIZER.sub(b"", head)
        # After Gradio's own script, which is needed first.
        head += self._preloaded
        tags = self._tags(request).encode()
        head = _BEGINNING.sub(lambda found: found[0] + tags, _GRADIOS.sub(b"", head), count=1)
        return head + end + rest

    def _tags(self, request: Request) -> str:
        description = locale.page_texts(language_of(request))["preview"]
        width, height = PREVIEW_SIZE
        card = {
            "og:title": "TenSight",
            "og:type": "website",
            "og:site_name": "TenSight",
            "og:description": description,
        }
        base = self._base(request)
        if base is not None:
            card |= {
                "og:url": f"{base}/",
                "og:image": f"{base}/{PREVIEW}",
                "og:image:type": "image/png",
                "og:image:width": str(width),
                "og:image:height": str(height),
                "og:image:alt": "TenSight",
            }
        named = {
            "description": description,
            "theme-color": THEME_COLOR,
            "twitter:card": "summary" if base is None else "summary_large_image",
        }
        return "".join(
            [
                "<title>TenSight</title>",
                *(_tag("property", name, content) for name, content in card.items()),
                *(_tag("name", name, content) for name, content in named.items()),
                f'<link rel="manifest" href="./{MANIFEST}">',
                f'<link rel="icon" type="image/png" href="./{ICON}">',
                f'<link rel="apple-touch-icon" href="./{APPLE_ICON}">',
                _PLACES,
            ]
        )

    def _base(self, request: Request) -> str | None:
        """Return the URL that the page's paths are appended to."""
        if self._root_path.startswith(("http://", "https://")):
            return self._root_path
        origin = self._hosts.origin(request.scope)
        return None if origin is None else origin + self._root_path


def _tag(kind: str, name: str, content: str) -> str:
    return f'<meta {kind}="{name}" content="{html.escape(content)}">'
