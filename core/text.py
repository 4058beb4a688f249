"""Validation and escaping of untrusted text.

Texts of a repository (titles, labels, notes, folder names) are shown on terminals, on pages and in
chats. These characters are not allowed in them:

- control characters (U+0000 to U+001F, U+007F to U+009F) and the line and paragraph separators
  U+2028 and U+2029, so that one line stays one line and no escape sequence controls a terminal;
- bidirectional controls (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069), which show
  text in another order than programs read it ("Trojan Source", CVE-2021-42574);
- invisible characters (U+00AD, U+180E, U+200B, U+2060 to U+2065, U+206A to U+206F, U+FEFF, U+FFF9
  to U+FFFB, tags U+E0000 to U+E007F) and lone surrogates, so that names that look the same are the
  same.

The joiners U+200C and U+200D are allowed: some scripts and many emoji need them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["escape_markdown", "has_hidden", "markdown_code", "printable", "strings_in"]

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_CODE = re.compile(r"(`[\w .,=/-]+`)", re.ASCII)
# An underscore inside a word is not markup. The last line is what renderers find addresses by, of
# which they would make links.
_MARKDOWN = re.compile(
    r"[\\`*{}\[\]<>#+!|~$&]|(?<![^\W_])_|_(?![^\W_])"
    r"|:(?=//)|(?<=[Ww]{3})\.|@"
)
_LEADING = re.compile(r"^(?:(?=[-=])|(\d{1,9})(?=[.)](?:\s|$)))")


def has_hidden(text: str) -> bool:
    """Return whether a text contains a character that is not allowed, see the module."""
    return _HIDDEN.search(text) is not None


def strings_in(value: object) -> Iterator[str]:
    """Yield all strings in a JSON value, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from strings_in(key)
            yield from strings_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from strings_in(each)


def printable(text: str, max_characters: int = 200) -> str:
    """Format untrusted text for a message: escaped, on one line, and truncated.

    Args:
        text: The text.
        max_characters: Maximum number of characters.
    """
    shown = _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown if len(shown) <= max_characters else f"{shown[: max_characters - 1]}…"


def escape_markdown(text: str, *, keep_code: bool = False) -> str:
    """Escape text so that Markdown shows it literally.

    Args:
        text: One line.
        keep_code: Whether plain `words` between backticks stay code.
    """
    parts = _CODE.split(text.strip()) if keep_code else [text.strip()]
    escaped = (
        part if i % 2 else _MARKDOWN.sub(lambda sign: f"\\{sign[0]}", part)
        for i, part in enumerate(parts)
    )
    return _LEADING.sub(lambda begin: f"{begin[1] or ''}\\", "".join(escaped))


def markdown_code(text: str) -> str:
    """Format text as inline code in Markdown, whatever it contains."""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"
