"""Who sends a request: the client's address, through the reverse proxies that are declared."""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ClientAddress", "client_address", "client_key"]


class ClientAddress:
    """Put the client's address in the place of the last proxy's, for all that handles a request.

    Args:
        app: What handles the requests.
        proxies: Number of trusted reverse proxies in front; with 0, X-Forwarded-For is not read.
    """

    def __init__(self, app: ASGIApp, proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and self._proxies:
            scope = {**scope, "client": (client_address(scope, self._proxies), 0)}
        await self._app(scope, receive, send)


def client_address(scope: Scope, proxies: int) -> str:
    """Return the address of whoever sent a request.

    Each proxy adds the address that it was asked from at the end of X-Forwarded-For, on the same
    line or on one of its own; what stands further left may be made up by the client.

    Args:
        scope: Of ASGI.
        proxies: Number of trusted reverse proxies in front.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    passed_on = b",".join(lines).decode("latin-1").split(",")
    if not 0 < proxies <= len(passed_on):
        return str(peer)
    address = _parsed(passed_on[-proxies])
    return str(peer) if address is None else str(address)


def client_key(address: str) -> str:
    """Return what a client counts as: its address, or for IPv6 the /64 that it can choose from."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, with or without brackets, port and zone; None where it is none."""
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
