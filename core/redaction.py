"""Masking of secrets in text that is shown or logged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote

__all__ = ["credentials", "masked_value", "without_credentials", "without_secrets"]

# Replacement of a secret in a message.
_MASK = "**********"
# Tokens of Telegram, the Hub and others, which users paste into the wrong settings.
_TOKENS = re.compile(
    r"(?<!\d)\d{5,20}:[\w-]{20,}"
    r"|\b(?:hf_|api_org_)[A-Za-z0-9]{8,}"
    r"|\b(?:gh[a-z]_|github_pat_)\w{20,}"
    r"|\bsk-[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
_PORT = r"\d{1,5}(?:[/?#\s'\"]|$)"
# All lengths are limited: a long line of hostile text must not take quadratic time.
_USER_INFO = re.compile(
    # A password may contain blanks and @.
    rf"//[^\s/@:\[]{{0,300}}:(?!{_PORT})[^\n@]{{0,300}}@(?:\S{{0,300}}@)?"
    r"|//\S{0,1000}@"
    # user:password@host without a scheme
    rf"|(?<![\w.%+~!$-])[\w.%+~!$-]{{0,100}}:(?!//|{_PORT})\S{{0,300}}@",
    re.MULTILINE,
)
# What messages recommend to write.
_EXAMPLE = "//user:password@"
_QUERY = re.compile(r"(://\S{0,1000}?\?)\S+")
_SECRET_NAME = (
    r"(?:ssl)?pass(?:word|wd|phrase)?|pwd|secret|(?:access_?|auth_?|api_?)?token|api_?key"  # noqa: S105  # a pattern
)
_PARAMETER = re.compile(rf"\b({_SECRET_NAME})=[^\s&]+", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Shorter passwords occur in other text by chance.
_MIN_PASSWORD_CHARACTERS = 4


def without_credentials(text: str) -> str:
    """Mask user names, passwords and query strings of URLs in a text, and tokens."""
    text = _USER_INFO.sub(_masked_user_info, text)
    text = _QUERY.sub(rf"\1{_MASK}", text)
    text = _PARAMETER.sub(rf"\1={_MASK}", text)
    return _TOKENS.sub(_MASK, text)


def masked_value(value: str) -> str:
    """Mask credentials in the value of a setting or variable, which need not be a valid URL.

    Everything before its last @ is masked, and everything after a ? that contains parameters.
    """
    before, _, rest = value.rpartition("@")
    if before:
        scheme = _SCHEME.match(before)
        value = f"{scheme.group() if scheme else ''}{_MASK}@{rest}"
    value = re.sub(r"([?#]).*=.*", rf"\1{_MASK}", value, flags=re.DOTALL)
    return without_credentials(value)


def credentials(url: str) -> list[str]:
    """Return the credentials in a URL, which need not be valid: as they are, and decoded.

    Returns:
        User with password, the password, and parameters of the query that are named as secrets.
    """
    before, _, after = url.rpartition("@")
    info = before.partition("://")[2] or before
    password = info.partition(":")[2]
    found = [info, password] if password else []
    found += [
        value
        for name, value in parse_qsl(after.partition("?")[2])
        if re.fullmatch(_SECRET_NAME, name, re.IGNORECASE)
    ]
    decoded = [unquote(each) for each in found]
    return [
        each for each in dict.fromkeys([*found, *decoded]) if len(each) >= _MIN_PASSWORD_CHARACTERS
    ]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Mask known secrets in a text, and what `without_credentials` recognises."""
    # The longest first, as one may contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return without_credentials(text)


def _masked_user_info(found: re.Match[str]) -> str:
    if found.group() == _EXAMPLE:
        return _EXAMPLE
    return f"//{_MASK}@" if found.group().startswith("//") else f"{_MASK}@"
