"""Validation and escaping of untrusted text."""

from __future__ import annotations

import html
import re

import pytest
from markdown_it import MarkdownIt

from core.text import escape_markdown, has_hidden, markdown_code, printable, strings_in

WORDS = [
    "*bold* _and_ **more** ~~gone~~",
    "[click](https://bad.example) ![x](https://bad.example/x.png)",
    "<script>alert(1)</script> <b>x</b> &lt;",
    "# heading",
    "- item",
    "1. item",
    "12) item",
    "> quote",
    "=====",
    "---",
    "| cell | cell |",
    "a `code` b ``x",
    r"back\slash \* \[",
    "$$x$$ {a} !!",
    "snake_case_word _x_",
    "    indented",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("keep_code", [False, True])
def test_escaped_markdown_shows_text_literally(words: str, keep_code: bool) -> None:
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(
        escape_markdown(words, keep_code=keep_code)
    )
    tags = set(re.findall(r"</?(\w+)", rendered))
    assert tags <= ({"p", "code"} if keep_code else {"p"})
    expected = words.replace("`code`", "code") if keep_code else words
    assert html.unescape(re.sub(r"<[^>]+>", "", rendered)).strip() == expected.strip()


@pytest.mark.parametrize(
    "words",
    [
        "see https://bad.example/x",
        "HTTP://bad.example",
        "ftp://a.b",
        "www.bad.example",
        "a@b.example",
    ],
)
def test_escaped_markdown_makes_no_links_of_addresses(words: str) -> None:
    """Renderers link addresses unless a sign that they begin with, or contain, is escaped."""
    escaped = escape_markdown(words)
    assert not re.search(r"(?<!\\)://|www\.|(?<!\\)@", escaped)
    assert html.unescape(MarkdownIt().render(escaped)) == f"<p>{words}</p>\n"


def test_escaped_markdown_may_keep_code() -> None:
    assert escape_markdown("as `fine_tuned` is_not", keep_code=True) == "as `fine_tuned` is_not"


@pytest.mark.parametrize("words", ["plain", "a`b", "``", "`a` ```b", "<b>"])
def test_markdown_code_shows_text_literally(words: str) -> None:
    rendered = MarkdownIt().render(markdown_code(words))
    assert html.unescape(rendered) == f"<p><code>{words}</code></p>\n"


@pytest.mark.parametrize(
    "sign",
    [
        *("\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"),
        *("\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069"),
        *("\u00ad", "\u180e", "\u200b", "\u2060", "\ufeff", "\ufffb", "\U000e0041", "\ud800"),
    ],
)
def test_hidden_characters_are_found_and_escaped(sign: str) -> None:
    assert has_hidden(f"a{sign}b")
    shown = printable(f"a{sign}b")
    assert not has_hidden(shown)
    assert "\\" in shown


@pytest.mark.parametrize("words", ["Größe 猫 кот قطة", "می‌خواهم", "👩‍🚀", "a b ×·–“”"])
def test_text_of_any_script_is_allowed(words: str) -> None:
    assert not has_hidden(words)
    assert printable(words) == words


def test_long_text_is_truncated() -> None:
    assert printable("x" * 300) == "x" * 199 + "…"


def test_strings_include_keys() -> None:
    assert set(strings_in({"a": [{"b": ("c", 1, None)}]})) == {"a", "b", "c"}
