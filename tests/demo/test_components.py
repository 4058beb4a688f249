"""HTML that the tabs share."""

from __future__ import annotations

from demo.components import markdown_html

_TABLE = "| class | F1 |\n| --- | ---: |\n| cat | 0.9 |\n"


def test_markdown_tables_are_focusable_and_named_after_their_heading() -> None:
    rendered = markdown_html(
        f'# Cat\n\n{_TABLE}\n## Figures & "more"\n\nText.\n\n{_TABLE}\nText.\n\n{_TABLE}'
    )
    opening = '<div class="wide" tabindex="0" role="group" aria-label="{}"><table>'
    assert rendered.count(opening.format("Cat")) == 1
    assert rendered.count(opening.format("Figures &amp; &quot;more&quot;")) == 2
    assert rendered.count("</table></div>") == rendered.count("<table>") == 3


def test_markdown_shows_html_as_text() -> None:
    assert "<script>" not in markdown_html("## Use\n\n<script>alert(1)</script>")
