"""Words that come from elsewhere: what may stand in them, and how they are shown as they are.

A repository's words (titles, labels, notes, names of folders) are shown on terminals, pages and in
chats. These characters are refused in them:

- control characters (U+0000 to U+001F, U+007F to U+009F), among them line breaks, tabs and the
  escape that commands a terminal; and the line and paragraph separators U+2028 and U+2029: one line
  must not become two, and nothing may command a terminal;
- bidirectional controls (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069): they show
  text in another order than programs read it ("Trojan Source", CVE-2021-42574);
- characters that cannot be seen (U+00AD, U+180E, U+200B, U+2060 to U+2065, U+206A to U+206F,
  U+FEFF, U+FFF9 to U+FFFB, tags U+E0000 to U+E007F) and lone surrogates: two names that look the
  same must be the same.

The joiners U+200C and U+200D stay: some scripts and many emoji cannot be written without them.
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
# An underscore within a word begins nothing.
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#+!|~$&]|(?<![^\W_])_|_(?![^\W_])")
_LEADING = re.compile(r"^(?:(?=[-=])|(\d{1,9})(?=[.)](?:\s|$)))")


def has_hidden(text: str) -> bool:
    """Whether a text holds a character that is refused, see above."""
    return _HIDDEN.search(text) is not None


def strings_in(value: object) -> Iterator[str]:
    """All texts in a value that JSON can hold, the keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from strings_in(key)
            yield from strings_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from strings_in(each)


def printable(text: str, most: int = 200) -> str:
    """A text for a message, on one line: refused characters written as codes, and cut."""
    shown = _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def escape_markdown(text: str, *, keep_code: bool = False) -> str:
    """A text that Markdown shows as it is.

    Args:
        text: One line.
        keep_code: Whether `words` between backticks may stand as code, which is shown as it is too.
    """
    parts = _CODE.split(text.strip()) if keep_code else [text.strip()]
    escaped = (
        part if i % 2 else _MARKDOWN.sub(lambda sign: f"\\{sign[0]}", part)
        for i, part in enumerate(parts)
    )
    return _LEADING.sub(lambda begin: f"{begin[1] or ''}\\", "".join(escaped))


def markdown_code(text: str) -> str:
    """A text as code in Markdown, whatever is in it."""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"
