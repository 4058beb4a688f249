"""Limit on the memory that Gradio uses for events that no client reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import gradio as gr
from gradio.server_messages import CloseStreamMessage

__all__ = ["UnreadEventLimiter"]

# Maximum size of events without a listener, and of all unanswered events.
_MAX_UNREAD_BYTES = 16 * 2**20
_MAX_TOTAL_BYTES = 64 * 2**20


@dataclass
class _Session:
    """Events and unread messages of one session.

    Attributes:
        pending: Size in bytes of each unanswered event, by its id.
        unread: Size in bytes of the unread messages.
        listeners: Number of requests that read the messages at the moment.
        joining: Number of events that are being put into the queue at the moment.
        is_single_call: Whether Gradio created the session for a single API call.
    """

    pending: dict[str, int] = field(default_factory=dict)
    unread: int = 0
    listeners: int = 0
    joining: int = 0
    is_single_call: bool = False

    @property
    def size(self) -> int:
        """Size in bytes of all events and messages."""
        return sum(self.pending.values()) + self.unread

    @property
    def is_idle(self) -> bool:
        """Return whether no request uses the session now."""
        return not self.listeners and not self.joining


class UnreadEventLimiter:
    """Drops the oldest events without a listener when they use too much memory.

    Gradio keeps the events and answers of up to 2,000 sessions until a client reads them, whatever
    their size. All methods run on the page's event loop.

    Args:
        page: Page whose queue is monitored.
        max_unread_bytes: Maximum size in bytes of events without a listener.
        max_total_bytes: Maximum size in bytes of all unanswered events; further ones are refused.
    """

    def __init__(
        self,
        page: gr.Blocks,
        *,
        max_unread_bytes: int = _MAX_UNREAD_BYTES,
        max_total_bytes: int = _MAX_TOTAL_BYTES,
    ) -> None:
        self._page = page
        self._queue = cast(Any, page._queue)
        self._max_unread_bytes = max_unread_bytes
        self._max_total_bytes = max_total_bytes
        # In order of the time without a listener, longest first.
        self._sessions: dict[str, _Session] = {}
        self._push = self._queue.push
        self._send = self._queue.send_message
        self._queue.push = self._push_event
        self._queue.send_message = self._send_message

    @property
    def unread_bytes(self) -> int:
        """Size in bytes of events and messages without a listener."""
        return sum(each.size for each in self._sessions.values() if not each.listeners)

    def has_messages(self, session_or_event: str) -> bool:
        """Return whether there are messages for a session, or for the session of an event."""
        return self._session_of(session_or_event) in self._queue.pending_messages_per_session

    @contextmanager
    def listening(self, session_or_event: str) -> Iterator[None]:
        """Count a listener of a session, or of the session of an event, within the context."""
        name = self._session_of(session_or_event)
        session = self._sessions.setdefault(name, _Session())
        session.listeners += 1
        try:
            yield
        finally:
            session.listeners -= 1
            if name in self._sessions:
                self._stop_listening(name, session)

    def _stop_listening(self, name: str, session: _Session) -> None:
        """Update a session after one of its listeners has left."""
        self._measure(name, session)
        if not session.listeners:
            # Unread messages wait from now on, so the session moves to the end.
            self._sessions[name] = self._sessions.pop(name)
            self._forget_if_empty(name)
        elif session.is_single_call and not session.size and not session.joining:
            # The listener that left has read the last message; the others would wait forever.
            messages = self._queue.pending_messages_per_session.get(name)
            self._forget(name)
            for _ in range(session.listeners if messages is not None else 0):
                messages.put_nowait(CloseStreamMessage())

    async def _push_event(self, body: Any, request: Any, username: str | None) -> Any:
        size = _size(body.data)
        waiting = sum(sum(each.pending.values()) for each in self._sessions.values())
        if waiting + size > self._max_total_bytes:
            return False, "Too many events are waiting. Try again later.", "queue_full"
        joined = body.session_hash
        session = (
            _Session(is_single_call=True)
            if joined is None
            else self._sessions.setdefault(joined, _Session())
        )
        # It protects the session's messages if a listener leaves during the `await` below.
        session.joining += 1
        try:
            success, event_id, state = await self._push(
                body=body, request=request, username=username
            )
            if success:
                session = self._sessions.setdefault(body.session_hash, session)
                session.pending[event_id] = size
        finally:
            session.joining -= 1
            if joined is not None:
                self._forget_if_empty(joined)
        await self._make_room(body.session_hash)
        return success, event_id, state

    def _send_message(self, event: Any, event_message: Any) -> None:
        if event.session_hash not in self._queue.pending_messages_per_session:
            event.alive = False  # it was dropped while it ran
            return
        self._send(event, event_message)
        session = self._sessions.get(event.session_hash)
        if session is None:
            return
        session.unread += _size(getattr(event_message, "output", None))
        if event_message.msg == "process_completed":
            session.pending.pop(event._id, None)
        self._drop_answers(event.session_hash)

    async def _make_room(self, newest: str) -> None:
        for name in self._surplus(newest):
            await self._queue.clean_events(session_hash=name)
            self._forget(name)

    def _drop_answers(self, newest: str) -> None:
        for name in self._surplus(newest):
            self._forget(name)

    def _surplus(self, newest: str) -> list[str]:
        """Return the oldest sessions that must be dropped for the rest to be within the limit."""
        surplus: list[str] = []
        unread_bytes = self.unread_bytes
        if unread_bytes <= self._max_unread_bytes:
            return surplus
        # The newest one is dropped last, since its client may be about to listen.
        for name in sorted(self._sessions, key=newest.__eq__):
            session = self._sessions[name]
            if unread_bytes > self._max_unread_bytes and session.size and session.is_idle:
                surplus.append(name)
                unread_bytes -= session.size
        return surplus

    def _measure(self, name: str, session: _Session) -> None:
        """Update the sizes of a session's events and messages."""
        messages = self._queue.pending_messages_per_session.get(name)
        if messages is None or messages.empty():
            session.unread = 0
        unfinished = self._queue.event_ids_to_events
        session.pending = {each: n for each, n in session.pending.items() if each in unfinished}

    def _forget_if_empty(self, name: str) -> None:
        session = self._sessions.get(name)
        if session is None or session.size or not session.is_idle:
            return
        if session.is_single_call:
            self._forget(name)
        else:
            # A browser may listen to it again; an empty queue needs little memory.
            del self._sessions[name]

    def _forget(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None and session.is_single_call:
            self._page.state_holder.session_data.pop(name, None)
            self._page.state_holder.time_last_used.pop(name, None)
        self._queue.pending_messages_per_session.pop(name, None)
        self._queue.pending_event_ids_session.pop(name, None)

    def _session_of(self, session_or_event: str) -> str:
        for name, ids in self._queue.pending_event_ids_session.items():
            if session_or_event in ids:
                return str(name)
        return session_or_event


def _size(value: Any) -> int:
    """Estimate the size of a JSON value in bytes."""
    total, parts = 0, [value]
    while parts:
        part = parts.pop()
        total += 64
        if isinstance(part, str | bytes):
            total += len(part)
        elif isinstance(part, dict):
            parts += part.keys()
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part
    return total
