"""Recognition of access tokens, which users paste into the wrong settings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.file_suffixes import IMAGE_SUFFIX

__all__ = ["find_access_tokens"]

_TOKEN = re.compile(
    r"(?<!\d)\d{5,20}:[\w-]{20,}"  # Telegram
    r"|\b(?:hf|api_org)_[A-Za-z0-9]{12,}"  # Hugging Face
    r"|\b(?:gh[oprsu]|github_pat)_\w{20,}"  # GitHub
    r"|\bsk-[\w-]{20,}"  # OpenAI and others
    # Within a word, a limit keeps the time linear on hostile text.
    r"|(?P<jwt>(?:(?<![\w-])eyJ[\w-]{8,}|(?<=-)eyJ[\w-]{8,1000})\.[\w-]{8,}\.[\w-]*)"
)
_REST_OF_IMAGE_NAME = re.compile(rf"\w*{IMAGE_SUFFIX}")
_MAX_FILE_NAME = 255
# Names of packages and functions.
_PACKAGES = {"hf_transformers"}


def find_access_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each token in a text, from left to right."""
    position = 0
    while token := _TOKEN.search(text, position):
        if token["jwt"] or not _is_name(token):
            yield token.span()
            position = token.end()
        else:
            # A name may contain a token.
            position = token.start() + 1


def _is_name(token: re.Match[str]) -> bool:
    """Return whether this is the name of a photo or a package."""
    if token.group() in _PACKAGES:
        return True
    rest = _REST_OF_IMAGE_NAME.match(token.string, token.end())
    return rest is not None and rest.end() - token.start() <= _MAX_FILE_NAME
