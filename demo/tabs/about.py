"""The tab About: purpose, limits and privacy of the page, and API examples."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from contextlib import suppress

import gradio as gr

from core import locale
from core.errors import TenSightError
from demo.components import markdown_html
from demo.context import PageContext, language_of

__all__ = ["CURL", "JAVASCRIPT", "MCP", "MCP_STDIO", "PYTHON", "build"]

_HERE = "http://127.0.0.1:7860"

CURL = """
URL=http://127.0.0.1:7860
FILE=$(curl -s -F files=@photo.jpg $URL/gradio_api/upload | tr -d '[]"')
ID=$(curl -s $URL/gradio_api/call/predict -H 'Content-Type: application/json' \\
  -d '{"data": [{"path": "'$FILE'"}, null, false]}' | cut -d'"' -f4)
curl -sN $URL/gradio_api/call/predict/$ID
"""

PYTHON = """
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
answer = client.predict(handle_file("photo.jpg"), api_name="/predict")
print(answer["label"], answer["confidence"])
"""

JAVASCRIPT = """
import { Client, handle_file } from "@gradio/client";

const client = await Client.connect("http://127.0.0.1:7860");
const { data } = await client.predict("/predict", { photo: handle_file("photo.jpg") });
console.log(data[0].label, data[0].confidence);
"""

MCP = """
{
  "mcpServers": {
    "tensight": { "type": "http", "url": "http://127.0.0.1:7860/mcp" }
  }
}
"""

# Where the page has no MCP endpoint, a program starts one of its own.
MCP_STDIO = """
{
  "mcpServers": {
    "tensight": { "command": "tensight", "args": ["mcp"] }
  }
}
"""

_PROGRAMS = {"curl": CURL, "Python": PYTHON, "JavaScript": JAVASCRIPT}


def build(context: PageContext, tab: gr.Tab, *, share: bool, mcp: bool) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        tab: The tab, whose opening fills it.
        share: Whether the page is shared through Gradio's servers.
        mcp: Whether the page has an MCP endpoint.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    at_start = context.predictor.models()
    examples = _PROGRAMS | {"MCP": MCP if mcp else MCP_STDIO}
    about = gr.HTML(elem_id="about")
    programs = gr.HTML(elem_id="programs")
    answer = gr.HTML(elem_id="about-answer")

    def show(request: gr.Request) -> tuple[str, str, str]:
        """Return the text for the current models, and the API examples with the page's address."""
        texts, results = locale.page_texts(language_of(request)), at_start
        with suppress(TenSightError):
            results = context.predictor.models()
        sides = {
            side for each in results for side in (each.config.input.width, each.config.input.height)
        }
        text = texts["about"].format(
            sides="–".join(str(side) for side in sorted({min(sides), max(sides)})),
            elsewhere=texts["about_shared" if share else "about_alone"],
        )
        more = texts["about_answer"] + texts["about_credits"]
        return markdown_html(text), _programs_html(examples, _address(request)), markdown_html(more)

    tab.select(
        show,
        None,
        [about, programs, answer],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
    )


def _programs_html(programs: Mapping[str, str], address: str) -> str:
    """Render the API examples with the address of this page."""
    return "".join(
        f'<h4>{name}</h4><pre tabindex="0" role="region" aria-label="{name}">'
        f"{html.escape(program.strip().replace(_HERE, address))}</pre>"
        for name, program in programs.items()
    )


def _address(request: gr.Request) -> str:
    """Return the page's URL from the request headers; the default for malformed headers."""
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", "http").split(",")[0].strip()
    host = headers.get("x-forwarded-host") or headers.get("host") or ""
    if not re.fullmatch(r"[\w.:\[\]-]+", host) or scheme not in ("http", "https"):
        return _HERE
    return f"{scheme}://{host}"
