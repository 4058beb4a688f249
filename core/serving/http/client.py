"""The client's address, taken from X-Forwarded-For behind trusted reverse proxies."""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ClientAddress", "client_address", "client_key"]


class ClientAddress:
    """Middleware that replaces the proxy's address by the client's in the ASGI scope.

    Args:
        app: The ASGI application.
        proxies: Number of trusted reverse proxies; with 0, X-Forwarded-For is ignored.
    """

    def __init__(self, app: ASGIApp, proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the address of its client."""
        if scope["type"] == "http" and self._proxies:
            scope = {**scope, "client": (client_address(scope, self._proxies), 0)}
        await self._app(scope, receive, send)


def client_address(scope: Scope, proxies: int) -> str:
    """Return the address of a request's client.

    Each proxy appends the address of its peer to X-Forwarded-For, on the same line or on a new one.
    Entries further left may be forged by the client.

    Args:
        scope: ASGI scope of the request.
        proxies: Number of trusted reverse proxies.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    passed_on = b",".join(lines).decode("latin-1").split(",")
    if not 0 < proxies <= len(passed_on):
        return str(peer)
    address = _parsed(passed_on[-proxies])
    return str(peer) if address is None else str(address)


def client_key(address: str) -> str:
    """Return the key that a client is counted by: its IPv4 address, or its IPv6 network (/64)."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address with or without brackets, port and zone; None if it is invalid."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
