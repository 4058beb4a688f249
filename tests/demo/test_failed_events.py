"""Events of a page that fail: one line in the log, and a text for the visitor."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import gradio as gr
import pytest
from gradio.events import api
from gradio.state_holder import SessionState

from demo.failed_events import log_failed_events


def divide(text: str) -> float:
    return 1 / len(text.strip("0"))


@pytest.mark.parametrize(
    ("accepted", "text"),
    [("en", "Something went wrong"), ("de-DE", "Bei uns ist etwas schiefgegangen")],
)
def test_failed_event_is_one_line_that_names_its_place(
    accepted: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        api(divide, api_name="divide")
    log_failed_events(page)
    blocks: Any = page
    request: Any = gr.Request(headers={"accept-language": accepted})
    event = {"state": SessionState(page), "request": request}
    with caplog.at_level(logging.INFO), pytest.raises(gr.Error, match=text):
        asyncio.run(blocks.process_api(block_fn=0, inputs=["0"], **event))
    (line,) = [each for each in caplog.records if each.name == "demo.failed_events"]
    assert line.levelno == logging.ERROR
    assert "test_failed_events.py:" in line.getMessage()
    assert "ZeroDivisionError" in line.getMessage()
    assert line.exc_info is None
