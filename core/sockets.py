"""Addresses to listen on."""

from __future__ import annotations

import socket

from core.errors import ListenError

__all__ = ["listen", "probe"]

_BACKLOG = 2048


def probe(host: str, port: int) -> None:
    """See whether an address can be listened on.

    Raises:
        ListenError: It cannot; the message says why.
    """
    listen(host, port).close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Args:
        host: A name or an IPv4 or IPv6 address, the latter in brackets or not.
        port: 0 for any that is free.

    Raises:
        ListenError: The address cannot be listened on; the message says why.
    """
    try:
        # With the protocol named, asyncio sets TCP_NODELAY; else small answers wait for 40 ms.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _cannot(host, port, error) from error
    return bound


def _cannot(host: str, port: int, error: OSError) -> ListenError:
    return ListenError(
        f"Nothing can listen on {host}, port {port}: {error.strerror or error}. Choose another "
        "address with --host and --port."
    )
