"""Environment variables for proxies and certificates, and hints about their errors.

HTTP clients read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE by themselves and
raise errors that do not name the variable.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from core.redaction import masked_value

__all__ = ["broken_variable", "is_loopback", "network_hint", "on_loopback"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = "no_proxy"
_SCHEMES = ("http", "https")
_SOCKS = ("socks5", "socks5h")


def is_loopback(url: str) -> bool:
    """Return whether a URL is on the loopback interface, which no proxy leads to."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def broken_variable() -> str | None:
    """Return a sentence about an invalid environment variable; None if all are valid."""
    for name, value in sorted(os.environ.items()):
        lower = name.lower()
        why = None
        if lower in _PROXIES and value:
            why = _no_proxy_because(value)
        elif lower == _NO_PROXY and "[" in value:
            why = "it must list IPv6 addresses without brackets"
        elif name == "SSL_CERT_FILE" and value:
            why = _no_certificates_because(value)
        elif name == "SSLKEYLOGFILE" and value and not Path(value).parent.is_dir():
            why = "its folder does not exist"
        if why is not None:
            return (
                f"The environment variable {name}={masked_value(value)} is invalid: {why}. "
                "Correct or unset it."
            )
    return None


def network_hint(url: str) -> str:
    """Return a hint about the environment variables that affect failed requests to a URL.

    Returns:
        A sentence that names the variable; empty if none affects them.
    """
    broken = broken_variable()
    if broken is not None:
        return broken
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if proxy_bypass(host):
        return ""
    proxies = getproxies_environment()
    for scheme in (parts.scheme, "all"):
        if scheme in proxies:
            name = next(n for n in os.environ if n.lower() == f"{scheme}_proxy")
            return (
                f"The environment variable {name} sends these requests to the proxy "
                f"{masked_value(proxies[scheme])}. Check that it works, or add {host} to "
                "NO_PROXY."
            )
    return ""


@contextmanager
def on_loopback() -> Iterator[None]:
    """Hide the proxy and certificate variables from code that only uses loopback.

    The environment belongs to the process, so this is for library calls before threads start.
    """
    names = {*_PROXIES, _NO_PROXY, "ssl_cert_file", "sslkeylogfile"}
    hidden = {name: value for name, value in os.environ.items() if name.lower() in names}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _no_proxy_because(value: str) -> str | None:
    """Return why a value is not a usable proxy URL; None if it is one."""
    address = value if "://" in value else f"http://{value}"
    scheme = address.partition("://")[0].lower()
    if scheme in _SOCKS:
        if importlib.util.find_spec("socksio") is None:
            return "SOCKS proxies need the package socksio, which is not installed"
    elif scheme not in _SCHEMES:
        return f"the scheme of a proxy is http, https or socks5, not {scheme}"
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "it is not a URL such as http://host:3128"
    return (
        None if parts.hostname else "it has no host name; a proxy is a URL such as http://host:3128"
    )


def _no_certificates_because(file: str) -> str | None:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        return "the file contains no certificates"
    except OSError as error:
        return error.strerror or str(error)
    return None
