"""Masking of secrets in text that is shown or logged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["credentials", "masked_value", "without_credentials", "without_secrets"]

# Replacement of a secret in a message.
_MASK = "**********"
_IMAGE = r"\.(?i:avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)\b"
_FILE = rf"(?:{_IMAGE}|\.(?i:csv|gz|html|json|keras|log|npz|pdf|tar|tflite|toml|txt)\b)"
# The patterns below that are text are compiled by `re.sub` on first use: compiling them takes
# milliseconds, and most processes mask nothing.
#
# Tokens of Telegram, the Hub and others, which users paste into the wrong settings.
_TOKENS = (
    rf"(?<!\d)\d{{5,20}}:(?![\w-]{{0,200}}{_IMAGE})[\w-]{{20,}}"
    # hf_transformers and the like are names of packages and functions.
    rf"|\b(?:hf_|api_org_)(?!transformers\b|\w{{0,200}}{_IMAGE})[A-Za-z0-9]{{12,}}"
    rf"|\b(?:gh[oprsu]_|github_pat_)(?!\w{{0,200}}{_IMAGE})\w{{20,}}"
    rf"|\bsk-(?![\w-]{{0,200}}{_IMAGE})[\w-]{{20,}}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
# A number after a colon is a port where an address can end.
_PORT = (
    r"\d{1,5}(?:[/\s]|$|[\"')\]}>,;.:!]{1,9}(?:[\s\"'{\[(<]|$))"
    r"|(?:(?<=\d\.\d:)|(?<=\d\.\d\d:)|(?<=\d\.\d{3}:)|(?<=localhost:))"
    r"\d{1,5}(?![\w@.%+~!$-])"
)
# What follows the @ of photos, packages and images of containers: name@2x.jpg, name@1.2.3.
_NO_HOST = (
    rf"[^\s@/]{{0,100}}{_FILE}"
    r"|v?\d+(?:\.\d+){1,2}(?:-?(?:a|b|rc|alpha|beta|dev|post)[\w.]{0,20})?(?![\w-]|\.\w|:\d)"
    r"|\d+[A-Za-z%]{0,4}(?![\w-]|\.\w|:\d)"
    r"|sha\d{3}:"
)
_NO_USER = r"(?i:mailto|acct|sips?|xmpp|e?-?mail|contact|author|from|to|cc|bcc|by):"
_TIME = r"\d{1,2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?@(?!\S{0,300}@)"
_HOST_WITH_DOT_OR_PORT = r"(?=[\w-]{1,63}(?:\.\w|:\d))"
# All lengths are limited: a long line of hostile text must not take quadratic time.
_USER_INFO = (
    # A password may contain blanks and @; an @ after a blank starts the name of a user.
    rf"//(?![A-Za-z]:[/\\])[^\s/@:\[\]\"'<>,;]{{0,300}}:(?!{_PORT}|port\b)"
    rf"[^\n@]{{0,300}}(?<!\s)(?<!\s[(\"'])@(?:\S{{0,300}}@)?(?!{_NO_HOST})"
    r"|(?<=:)//[^\s/?#@:\"'<>,;]{1,1000}@"
    # user:password@host without a scheme; not in a path
    rf"|(?<![\w.%+~!$/-])(?!{_NO_USER}|[\w.+-]{{0,100}}\.\w{{1,6}}:\d{{1,6}}:|(?<=:)\d{{1,6}}:)"
    rf"(?:[\w.%+~!$-]{{1,100}}|(?<![^\s=])):(?![/\\:\"']|{_PORT}|{_TIME}|@\w{{1,100}}[,;/|]+@)"
    rf"(?:[^\s/]{{1,300}}@|\S{{1,300}}@{_HOST_WITH_DOT_OR_PORT})(?!{_NO_HOST})"
)
# What messages recommend to write.
_EXAMPLE = "//user:password@"
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
    text = re.sub(_USER_INFO, _masked_user_info, text, flags=re.MULTILINE)
    text = re.sub(_QUERY, rf"\1{_MASK}", text)
    text = re.sub(_PARAMETER, rf"\1={_MASK}", text, flags=re.IGNORECASE)
    return re.sub(_TOKENS, _MASK, text)


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
    if _PATH.match(value) or _PACKAGE.fullmatch(value) or re.search(rf"{_IMAGE}\Z", value):
        return True
    try:
        parts = urlsplit(value)
        is_port = parts.port != 0
    except ValueError:
        return False
    # Without a path, a ? or # may be part of a password.
    is_whole = bool(_SCHEME.match(value) and parts.hostname and parts.path)
    return is_port and is_whole and "@" not in parts.netloc


def _masked_user_info(found: re.Match[str]) -> str:
    if found.group() == _EXAMPLE:
        return _EXAMPLE
    return f"//{_MASK}@" if found.group().startswith("//") else f"{_MASK}@"
