"""Sockets that listen on an address."""

from __future__ import annotations

import errno
import socket

from core.errors import ListenError

__all__ = ["format_address", "listen", "probe"]

_BACKLOG = 2048


def probe(host: str, port: int) -> None:
    """Check that an address can be bound.

    Raises:
        ListenError: The address cannot be bound; the message says why.
    """
    listen(host, port).close()


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens on an address.

    Args:
        host: Host name, or IPv4 or IPv6 address; the latter with or without brackets.
        port: Port; 0 for any free port.

    Raises:
        ListenError: The address cannot be bound; the message says why.
    """
    try:
        # With an explicit protocol asyncio sets TCP_NODELAY, without which small responses take
        # 40 ms more.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _bind_error(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _bind_error(host, port, error) from error
    return bound


def format_address(host: str, port: int) -> str:
    """Return host and port as in a URL: IPv6 addresses in brackets."""
    name = host.strip("[]")
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _bind_error(host: str, port: int, error: OSError) -> ListenError:
    reason = (error.strerror or str(error)).removesuffix(".")
    options = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host and --port"
    return ListenError(
        f"Cannot bind to {format_address(host, port)}: {reason[:1].lower()}{reason[1:]}. "
        f"Choose another with {options}."
    )
