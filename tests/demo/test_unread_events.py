"""Limits on events that no client reads, on a page that answers as much as it is asked for."""

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
from demo.unread_events import UnreadEventLimiter
from tests.support.servers import free_port, wait_for

MAX_UNREAD_BYTES = 100_000


@dataclass
class Served:
    """A page, and the limiter of its unread events.

    Attributes:
        url: Its address.
        page: The page.
        unread_events: Limits its unread events.
        release: Lets the handler `slow` return.
    """

    url: str
    page: gr.Blocks
    unread_events: UnreadEventLimiter
    release: threading.Event

    def ask(self, data: list[Any], name: str = "echo", session: str | None = None) -> str:
        body = {"data": data} | ({"session_hash": session} if session else {})
        asked = httpx.post(f"{self.url}/gradio_api/call/{name}", json=body, timeout=60)
        assert asked.status_code == 200, asked.text
        return str(asked.json()["event_id"])

    def read_result(self, event_id: str, name: str = "echo") -> httpx.Response:
        return httpx.get(f"{self.url}/gradio_api/call/{name}/{event_id}", timeout=60)

    def stored_characters(self) -> int:
        """Count the characters that Gradio keeps in messages and in events."""
        queue: Any = self.page._queue
        messages = [
            str(message)
            for each in list(queue.pending_messages_per_session.values())
            for message in list(each._queue)
        ]
        asked = [str(each.data.data) for each in list(queue.event_ids_to_events.values())]
        return sum(map(len, messages + asked))


@contextmanager
def serving(**options: int) -> Iterator[Served]:
    release = threading.Event()

    def echo(text: str, times: float = 1) -> str:
        return text * int(times)

    def slow(text: str) -> str:
        release.wait(60)
        return text

    with gr.Blocks(analytics_enabled=False) as page:
        api(echo, api_name="echo", concurrency_limit=None)
        api(slow, api_name="slow", concurrency_limit=1)
    page.queue(max_size=500)
    unread_events = UnreadEventLimiter(page, **options)
    port = free_port()
    middleware = page_middleware(
        page,
        upload_limiter=ClientRateLimiter(9),
        uploads=None,
        unread_events=unread_events,
        proxies=0,
    )
    serve_page(page, host="127.0.0.1", port=port, middleware=middleware, appearance={})
    try:
        yield Served(f"http://127.0.0.1:{port}", page, unread_events, release)
    finally:
        release.set()
        page.close(verbose=False)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(max_unread_bytes=MAX_UNREAD_BYTES) as served:
        yield served


def test_unread_answers_are_limited(served: Served) -> None:
    events = [served.ask(["x" * 10_000, 2]) for _ in range(50)]
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.unread_events.unread_bytes <= MAX_UNREAD_BYTES
    assert served.stored_characters() <= 1.2 * MAX_UNREAD_BYTES
    assert "x" * 20_000 in served.read_result(events[-1]).text
    assert served.read_result(events[0]).status_code == 404


def test_events_without_a_listener_are_limited(served: Served) -> None:
    first = served.ask(["first"], "slow")
    for _ in range(50):
        served.ask(["x" * 10_000], "slow")
    assert served.unread_events.unread_bytes <= MAX_UNREAD_BYTES
    assert served.stored_characters() <= 1.2 * MAX_UNREAD_BYTES
    served.release.set()
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.read_result(first, "slow").status_code == 404


def test_single_session_is_limited(served: Served) -> None:
    for _ in range(50):
        served.ask(["x" * 10_000, 2], session="one")
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    assert served.stored_characters() <= 1.2 * MAX_UNREAD_BYTES


def test_sessions_keep_no_inputs_and_outputs(served: Served) -> None:
    events = [served.ask(["x" * 10_000, 2]) for _ in range(20)]
    named = served.ask(["x" * 10_000, 2], session="named")
    wait_for(lambda: not served.page._queue.event_ids_to_events)
    for event in [*events, named]:
        served.read_result(event)
    states = served.page.state_holder.session_data
    wait_for(lambda: set(states) <= {"named"})
    assert all("x" * 1000 not in str(vars(each)) for each in states.values())


def test_event_with_a_listener_is_kept(served: Served) -> None:
    heard = served.ask(["heard"], "slow")
    answers: list[str] = []
    listener = threading.Thread(
        target=lambda: answers.append(served.read_result(heard, "slow").text)
    )
    listener.start()
    wait_for(lambda: any(each.listeners for each in served.unread_events._sessions.values()))
    for _ in range(30):
        served.ask(["x" * 10_000, 2])
    served.release.set()
    listener.join(60)
    assert "heard" in answers[0]


def test_all_listeners_of_an_event_end_with_the_one_that_reads_its_result(served: Served) -> None:
    heard = served.ask(["heard"], "slow")
    answers: list[str] = []
    listeners = [
        threading.Thread(target=lambda: answers.append(served.read_result(heard, "slow").text))
        for _ in range(3)
    ]
    for each in listeners:
        each.start()
    sessions = served.unread_events._sessions
    wait_for(lambda: sum(each.listeners for each in sessions.values()) == len(listeners))
    served.release.set()
    for each in listeners:
        each.join(60)
    assert sum("heard" in answer for answer in answers) == 1
    assert len(answers) == len(listeners)
    wait_for(lambda: not sessions)


def test_read_answers_are_not_counted(served: Served) -> None:
    for _ in range(30):
        event = served.ask(["x" * 10_000, 2])
        assert "x" * 20_000 in served.read_result(event).text
    wait_for(lambda: not served.unread_events._sessions)
    queue: Any = served.page._queue
    assert not queue.pending_messages_per_session
    assert not queue.pending_event_ids_session


def test_events_beyond_the_total_limit_are_refused() -> None:
    with serving(max_unread_bytes=10**6, max_total_bytes=50_000) as served:
        for _ in range(4):
            served.ask(["x" * 10_000], "slow")
        call = f"{served.url}/gradio_api/call/slow"
        refused = httpx.post(call, json={"data": ["x" * 20_000]}, timeout=60)
        assert refused.status_code == 503
        served.release.set()
        wait_for(lambda: not served.page._queue.event_ids_to_events)
        assert httpx.post(call, json={"data": ["x" * 20_000]}, timeout=60).status_code == 200
