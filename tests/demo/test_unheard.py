"""Events that nobody listens to, on a page that answers with as much as it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.events import api

from demo.context import ClientRateLimiter
from demo.guard import page_middleware
from demo.server import serve_page
from demo.unheard import UnheardEvents
from tests.support.servers import free_port, wait_for

MAX_UNHEARD = 100_000


@dataclass
class Served:
    """A page, and what waits in it.

    Attributes:
        url: Its address.
        page: The page.
        unheard: What bounds it.
        go: Lets the events go on that wait for it.
    """

    url: str
    page: gr.Blocks
    unheard: UnheardEvents
    go: threading.Event

    def ask(self, data: list[Any], name: str = "echo", session: str | None = None) -> str:
        body = {"data": data} | ({"session_hash": session} if session else {})
        asked = httpx.post(f"{self.url}/gradio_api/call/{name}", json=body, timeout=60)
        assert asked.status_code == 200, asked.text
        return str(asked.json()["event_id"])

    def hear(self, event_id: str, name: str = "echo") -> httpx.Response:
        return httpx.get(f"{self.url}/gradio_api/call/{name}/{event_id}", timeout=60)

    def waiting(self) -> int:
        """Characters that Gradio keeps in messages and in events."""
        queue: Any = self.page._queue
        messages = [
            str(message)
            for each in list(queue.pending_messages_per_session.values())
            for message in list(each._queue)
        ]
        asked = [str(each.data.data) for each in list(queue.event_ids_to_events.values())]
        return sum(map(len, messages + asked))


@contextmanager
def serving(**how: int) -> Iterator[Served]:
    go = threading.Event()

    def echo(text: str, times: float = 1) -> str:
        return text * int(times)

    def slow(text: str) -> str:
        go.wait(60)
        return text

    with gr.Blocks(analytics_enabled=False) as page:
        api(echo, api_name="echo", concurrency_limit=None)
        api(slow, api_name="slow", concurrency_limit=1)
    page.queue(max_size=500)
    unheard = UnheardEvents(page, **how)
    port = free_port()
    middleware = page_middleware(
        uploaders=ClientRateLimiter(9), uploads=None, unheard=unheard, proxies=0
    )
    serve_page(page, host="127.0.0.1", port=port, middleware=middleware, look={})
    try:
        yield Served(f"http://127.0.0.1:{port}", page, unheard, go)
    finally:
        go.set()
        page.close(verbose=False)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(max_unheard=MAX_UNHEARD) as served:
        yield served


def test_unread_answers_are_limited(served: Served) -> None:
    events = [served.ask(["x" * 10_000, 2]) for _ in range(50)]
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.unheard.held <= MAX_UNHEARD
    assert served.waiting() <= 1.2 * MAX_UNHEARD
    assert "x" * 20_000 in served.hear(events[-1]).text
    assert served.hear(events[0]).status_code == 404


def test_events_without_a_listener_are_limited(served: Served) -> None:
    first = served.ask(["first"], "slow")
    for _ in range(50):
        served.ask(["x" * 10_000], "slow")
    assert served.unheard.held <= MAX_UNHEARD
    assert served.waiting() <= 1.2 * MAX_UNHEARD
    served.go.set()
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.hear(first, "slow").status_code == 404


def test_single_session_is_limited(served: Served) -> None:
    for _ in range(50):
        served.ask(["x" * 10_000, 2], session="one")
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.waiting() <= 1.2 * MAX_UNHEARD


def test_sessions_keep_no_inputs_and_outputs(served: Served) -> None:
    events = [served.ask(["x" * 10_000, 2]) for _ in range(20)]
    named = served.ask(["x" * 10_000, 2], session="named")
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    for event in [*events, named]:
        served.hear(event)
    states = served.page.state_holder.session_data
    wait_for(lambda: set(states) <= {"named"})
    assert all("x" * 1000 not in str(vars(each)) for each in states.values())


def test_event_with_a_listener_is_kept(served: Served) -> None:
    heard = served.ask(["heard"], "slow")
    answers: list[str] = []
    listener = threading.Thread(target=lambda: answers.append(served.hear(heard, "slow").text))
    listener.start()
    wait_for(lambda: any(each.listeners for each in served.unheard._sessions.values()))
    for _ in range(30):
        served.ask(["x" * 10_000, 2])
    served.go.set()
    listener.join(60)
    assert "heard" in answers[0]


def test_read_answers_are_not_counted(served: Served) -> None:
    for _ in range(30):
        event = served.ask(["x" * 10_000, 2])
        assert "x" * 20_000 in served.hear(event).text
    wait_for(lambda: not served.unheard._sessions)
    queue: Any = served.page._queue
    assert not queue.pending_messages_per_session
    assert not queue.pending_event_ids_session


def test_events_beyond_the_total_limit_are_refused() -> None:
    with serving(max_unheard=10**6, max_bytes=50_000) as served:
        for _ in range(4):
            served.ask(["x" * 10_000], "slow")
        call = f"{served.url}/gradio_api/call/slow"
        refused = httpx.post(call, json={"data": ["x" * 20_000]}, timeout=60)
        assert refused.status_code == 503
        served.go.set()
        wait_for(lambda: not served.page._queue.event_ids_to_events)
        assert httpx.post(call, json={"data": ["x" * 20_000]}, timeout=60).status_code == 200
