"""Masking of secrets in text that is shown or logged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from core.file_suffixes import IMAGE_SUFFIX

__all__ = ["credentials", "masked_value", "without_credentials", "without_secrets"]

# Replacement of a secret in a message.
_MASK = "**********"
_QUERY = r"(://[^\s\"<>?]{0,1000}\?)(?=[^\s)\].,;:!?'])(?:[^\s\"'<>]|'(?=[\w%&=+]))+"
_SECRET_NAME = (
    r"(?:ssl)?pass(?:word|wd|phrase)?|pwd|secret|(?:access_?|auth_?|api_?)?token|api_?key"  # noqa: S105  # a pattern
)
# PWD is also the variable that holds the current folder.
_PARAMETER = rf"\b(?!pwd=(?:[/\\~]|[a-z]:\\))({_SECRET_NAME})=[^\s&]+"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATH = re.compile(r"/(?!/)|[\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")
_PACKAGE = re.compile(r"[\w.-]+/[\w.-]+@[\w.-]+")
# Shorter passwords occur in other text by chance.
_MIN_PASSWORD_CHARACTERS = 4
# Letters only, up to this length, may be part of a longer word.
_WORD = re.compile(r"[^\W\d_]{1,15}")


def without_credentials(text: str) -> str:
    """Mask user names, passwords and query strings of URLs in a text, and tokens."""
    # Most processes mask nothing, so they are spared the milliseconds of compiling the patterns.
    from core.access_tokens import find_access_tokens  # noqa: PLC0415  # see above
    from core.user_info import find_user_info  # noqa: PLC0415  # see above

    text = _masked(text, find_user_info(text))
    text = re.sub(_QUERY, rf"\1{_MASK}", text)
    text = re.sub(_PARAMETER, rf"\1={_MASK}", text, flags=re.IGNORECASE)
    return _masked(text, find_access_tokens(text))


def masked_value(value: str) -> str:
    """Mask credentials in the value of a setting or variable, which need not be a valid URL.

    Everything before its last @ is masked, unless the value is a URL without user or password, a
    path, a photo, or a repository with a revision. Everything after a ? that contains parameters
    is masked.
    """
    before, _, rest = value.rpartition("@")
    if before and not _has_no_user(value):
        scheme = _SCHEME.match(before)
        value = f"{scheme.group() if scheme else ''}{_MASK}@{rest}"
    value = re.sub(r"([?#]).*=.*", rf"\1{_MASK}", value, flags=re.DOTALL)
    return without_credentials(value)


def credentials(url: str) -> list[str]:
    """Return the credentials in a URL, which need not be valid: as they are, and decoded.

    Returns:
        User with password, the password, and parameters of the query that are named as secrets.
        A password that is also the user, the host or the path is left out, since messages name
        these.
    """
    before, _, after = url.rpartition("@")
    user, _, password = (before.partition("://")[2] or before).partition(":")
    found = []
    if password and not _has_no_user(url):
        found.append(f"{user}:{password}")
        if password not in {user, *re.split(r"[:/?#]", after)}:
            found.append(password)
    found += [
        value
        for name, value in parse_qsl(after.partition("?")[2])
        if re.fullmatch(_SECRET_NAME, name, re.IGNORECASE)
    ]
    decoded = [unquote(each) for each in found]
    return [
        each
        for each in dict.fromkeys([*found, *decoded])
        if len(each) >= _MIN_PASSWORD_CHARACTERS and not re.fullmatch(_SECRET_NAME, each)
    ]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Mask known secrets in a text, and what `without_credentials` recognises."""
    # The longest first, as one may contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        if _WORD.fullmatch(secret):
            text = re.sub(rf"(?<![^\W\d_]){secret}(?![^\W\d_])", _MASK, text)
        else:
            text = text.replace(secret, _MASK)
    return without_credentials(text)


def _has_no_user(value: str) -> bool:
    """Return whether the last @ in a value does not end the user of a URL."""
    if _PATH.match(value) or _PACKAGE.fullmatch(value) or re.search(rf"{IMAGE_SUFFIX}\Z", value):
        return True
    try:
        parts = urlsplit(value)
        is_port = parts.port != 0
    except ValueError:
        return False
    # Without a path, a ? or # may be part of a password.
    is_whole = bool(_SCHEME.match(value) and parts.hostname and parts.path)
    return is_port and is_whole and "@" not in parts.netloc


def _masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Mask parts of a text, which are given by start and end, from left to right."""
    shown, done = [], 0
    for start, end in spans:
        shown += [text[done:start], _MASK]
        done = end
    return "".join([*shown, text[done:]])
