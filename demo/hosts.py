"""Address of the page as its clients see it, and validation of Host headers."""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import Scope

__all__ = ["TrustedHosts"]

_HOST = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE
)


class TrustedHosts:
    """Validates the Host headers of requests.

    A page that listens on a loopback address accepts loopback names only: a website can
    point its own domain at 127.0.0.1 and make a visitor's browser send requests (DNS rebinding).
    Behind a declared proxy or Gradio's tunnel, and on other addresses, the page can have any name.
    X-Forwarded-Host is never read: many proxies pass on what clients send in it.

    Args:
        listens_on: Address that the page listens on.
        proxies: Number of trusted reverse proxies in front; with 0, X-Forwarded-Proto is not read.
        shared: Whether the page is reachable through Gradio's tunnel.
    """

    def __init__(self, listens_on: str, *, proxies: int = 0, shared: bool = False) -> None:
        self._only_loopback = not proxies and not shared and _is_loopback(listens_on)
        self._behind_proxy = proxies > 0

    def origin(self, scope: Scope) -> str | None:
        """Return scheme and host of a request, such as `https://example.org`.

        Returns:
            None if the Host header is missing, repeated, malformed or not trusted.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or (self._only_loopback and not _is_loopback(found["name"])):
            return None
        scheme = scope["scheme"]
        if self._behind_proxy:
            told = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
            scheme = told if told in ("http", "https") else scheme
        return f"{scheme}://{hosts[0].lower()}"


def _is_loopback(host: str) -> bool:
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
