"""How the environment sends requests elsewhere: proxies and certificates, and what is wrong there.

HTTP clients read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE by themselves, and
fail in words of their own where one of these cannot be used.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

__all__ = ["broken_variable", "is_loopback", "network_hint", "on_loopback", "without_credentials"]

# What stands in the place of a secret.
_MASK = "**********"
# Tokens of Telegram and of the Hub, wherever somebody put them.
_TOKENS = re.compile(r"\d{5,}:[\w-]{20,}|hf_\w{8,}")

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = "no_proxy"
_SCHEMES = ("http", "https")
_SOCKS = ("socks5", "socks5h")


def without_credentials(text: str) -> str:
    """Mask the user, the password and the query of an address, and tokens in any text."""
    text = re.sub(r"//[^\s]*@", f"//{_MASK}@", text)
    text = re.sub(r"(://\S*\?)\S+", rf"\1{_MASK}", text)
    return _TOKENS.sub(_MASK, text)


def is_loopback(url: str) -> bool:
    """Whether an address is on this very computer, where no proxy leads."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def broken_variable() -> str | None:
    """Say which variable of the environment no HTTP client can use; None where all are fine."""
    for name, value in sorted(os.environ.items()):
        lower = name.lower()
        why = None
        if lower in _PROXIES and value:
            why = _no_proxy_because(value)
        elif lower == _NO_PROXY and "[" in value:
            why = "an IPv6 address stands there without brackets"
        elif name == "SSL_CERT_FILE" and value:
            why = _no_certificates_because(value)
        elif name == "SSLKEYLOGFILE" and value and not Path(value).parent.is_dir():
            why = "there is no such folder"
        if why is not None:
            return (
                f"The environment variable {name}={without_credentials(value)} cannot be used: "
                f"{why}. Correct or unset it."
            )
    return None


def network_hint(url: str) -> str:
    """Say what the environment does to requests to an address that fail.

    Returns:
        A sentence that names the variable; empty where none has to do with them.
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
                f"{without_credentials(proxies[scheme])}: see that it works, or name {host} in "
                "NO_PROXY."
            )
    return ""


@contextmanager
def on_loopback() -> Iterator[None]:
    """Hide the variables of the network meanwhile from what only asks this very computer.

    For code of others that runs before there are threads: the environment is the process's.
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
    """Why a value names no proxy that can be used; None where it does."""
    address = value if "://" in value else f"http://{value}"
    scheme = address.partition("://")[0].lower()
    if scheme in _SOCKS:
        if importlib.util.find_spec("socksio") is None:
            return "SOCKS proxies need the package socksio, which is not installed"
    elif scheme not in _SCHEMES:
        return f"proxies are of http, https or socks5, not of {scheme}"
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "it is no address; it looks like http://host:3128"
    return None if parts.hostname else "it names no host; it looks like http://host:3128"


def _no_certificates_because(file: str) -> str | None:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        return "the file holds no certificates"
    except OSError as error:
        return error.strerror or str(error)
    return None
