"""Sessions of the page that store the state of its tabs, and no copies of inputs and outputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

__all__ = ["store_only_state"]


def store_only_state(page: gr.Blocks, app: Any) -> None:
    """Store only the values of `gr.State` in the sessions of a page.

    Gradio stores the last value of every component in up to 10,000 sessions, one for each API
    call, to create links to a page as a visitor saw it. This page has no such links.

    Args:
        page: The page.
        app: Gradio's application that serves it.
    """
    sessions = _Sessions()  # type: ignore[no-untyped-call]
    sessions.set_blocks(page)
    app.state_holder = sessions


class _Sessions(StateHolder):
    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session; create it if it does not exist."""
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class _Session(SessionState):
    def __init__(self, blocks: gr.Blocks) -> None:
        # Without blocks, no values are copied; copying takes as long as classifying a small photo.
        super().__init__(
            cast(Any, SimpleNamespace(default_config=blocks.default_config, blocks=()))
        )

    def __setitem__(self, key: int, value: Any) -> None:
        """Store the value of a `gr.State`, or the changed configuration of a component."""
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        del key

    def _update_value_in_config(self, key: int, value: Any) -> None:
        del key, value
