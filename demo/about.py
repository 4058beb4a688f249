"""The tab About: what the page is for, its limits, privacy, and how programs ask."""

from __future__ import annotations

import re

import gradio as gr

from demo.front import Front

__all__ = ["CURL", "JAVASCRIPT", "PYTHON", "build"]

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


_PROGRAMS = {"curl": CURL, "Python": PYTHON, "JavaScript": JAVASCRIPT}


def build(front: Front, page: gr.Blocks) -> None:
    """Put the tab's parts into the page that is being built."""
    words = front.words
    gr.Markdown(words("about"))
    shown = [
        gr.Code(program.strip(), language=None, label=name, interactive=False)
        for name, program in _PROGRAMS.items()
    ]
    gr.Markdown(words("about_answer"))

    def address(request: gr.Request) -> list[str]:
        """The programs, with the address that this page was asked by."""
        headers = request.headers
        scheme = headers.get("x-forwarded-proto", "http").split(",")[0].strip()
        host = headers.get("x-forwarded-host") or headers.get("host") or ""
        if not re.fullmatch(r"[\w.:\[\]-]+", host) or scheme not in ("http", "https"):
            return [program.strip() for program in _PROGRAMS.values()]
        return [p.strip().replace(_HERE, f"{scheme}://{host}") for p in _PROGRAMS.values()]

    page.load(address, None, shown, api_visibility="private", show_progress="hidden")
