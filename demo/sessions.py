"""Sessions of the page that keep what its tabs need, and no copy of what was sent and shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

__all__ = ["keep_little"]


def keep_little(page: gr.Blocks, app: Any) -> None:
    """Let the sessions of a page keep the values of `gr.State`, and no others.

    Gradio keeps the last value of every component in each of up to 10,000 sessions, of which every
    call of a program is one, for links to a page as somebody saw it. This page offers none.

    Args:
        page: The page.
        app: Gradio's application that serves it.
    """
    sessions = _Sessions()  # type: ignore[no-untyped-call]
    sessions.set_blocks(page)
    app.state_holder = sessions


class _Sessions(StateHolder):
    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session, which is made where there is none."""
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class _Session(SessionState):
    def __init__(self, blocks: gr.Blocks) -> None:
        # Of no blocks the values are copied, which takes as long as answering a small photo.
        super().__init__(
            cast(Any, SimpleNamespace(default_config=blocks.default_config, blocks=()))
        )

    def __setitem__(self, key: int, value: Any) -> None:
        """Keep the value of a `gr.State`, or how a component was changed."""
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        del key

    def _update_value_in_config(self, key: int, value: Any) -> None:
        del key, value
