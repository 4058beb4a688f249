"""Middleware that limits the size and the speed of request bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import BusyError, ImageError, RequestError, SlowRequestError, TenSightError
from core.photos.decode import MAX_BYTES
from core.serving.http.errors import error_response
from core.serving.http.form_check import FormCheck

__all__ = ["MAX_FORM_BYTES", "BodyLimit", "BodyLimits", "BodyRule", "content_type", "is_form"]

_JSON_VALUES = (b",", b"[", b"{")

MAX_FORM_BYTES = 5 * MAX_BYTES
"""Maximum size of a form with photos."""


class Respond(Protocol):
    """Creates the response to a rejected request."""

    def __call__(self, error: TenSightError, /) -> ASGIApp:
        """Return an ASGI application that responds with the error."""


@dataclass(frozen=True)
class BodyLimits:
    """Limits on all bodies together, and on the speed of each.

    Attributes:
        bodies: Maximum number of requests with a body at a time.
        held_bytes: Maximum total size in bytes of the bodies in memory.
        grace_s: Time limit of a body in seconds, in addition to its size / `bytes_per_s`, so that
            a slow sender cannot hold a place forever.
        bytes_per_s: Minimum rate in bytes per second.
    """

    bodies: int
    held_bytes: int = 512 * 2**20
    grace_s: float = 20.0
    bytes_per_s: int = 32 * 1024


@dataclass(frozen=True)
class BodyRule:
    """Limits on one body.

    Attributes:
        max_bytes: Maximum size in bytes.
        held: Whether the body is kept in memory and counts towards `BodyLimits.held_bytes`.
        max_values: Maximum number of JSON values, counted as commas and opening brackets; None for
            a body that is no JSON. Parsing and checking many of them would block the event loop.
        file_parts: Name of the form parts that must be files; None where any may be a field.
    """

    max_bytes: int
    held: bool = True
    max_values: int | None = None
    file_parts: str | None = None


def _photo_rule(scope: Scope) -> BodyRule:
    return BodyRule(MAX_FORM_BYTES if is_form(content_type(scope)) else MAX_BYTES)


class BodyLimit:
    """Limits the size, the speed and the total memory of request bodies.

    A body beyond a limit is not read to its end: the client gets an error response, and the
    application sees a disconnect.

    Args:
        app: The ASGI application.
        limits: Limits on all bodies together.
        rule_of: Returns the limits for a request; by default those of the service's photos.
        respond: Creates the response to a rejected request.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: BodyLimits,
        rule_of: Callable[[Scope], BodyRule] = _photo_rule,
        respond: Respond = error_response,
    ) -> None:
        self._app = app
        self._limits = limits
        self._rule_of = rule_of
        self._respond = respond
        self._bodies = 0
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or reject it if its body exceeds a limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rule_of(scope)
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"").decode("latin-1")
        has_body = length not in ("", "0") or b"transfer-encoding" in headers
        body = _Body(self, rule, receive, send, ended=not has_body)
        if has_body and is_form(kind := content_type(scope)):
            try:
                body.check = FormCheck(kind, file_parts=rule.file_parts).feed
            except RequestError as error:
                await body.refuse(scope, error)
                return
        if length.isdecimal() and int(length) > rule.max_bytes:
            await body.refuse(scope, _too_large(rule.max_bytes))
            return
        if has_body and self._bodies >= self._limits.bodies:
            await body.refuse(scope, BusyError(1))
            return
        self._bodies += has_body
        try:
            await body.answer(self._app, scope)
        finally:
            self._bodies -= has_body
            self._held_bytes -= body.held

    def hold(self, n: int) -> None:
        """Count bytes that are kept in memory.

        Raises:
            BusyError: All bodies together exceed the limit.
        """
        self._held_bytes += n
        if self._held_bytes > self._limits.held_bytes:
            raise BusyError(1)

    @property
    def limits(self) -> BodyLimits:
        """Limits on all bodies together."""
        return self._limits

    def response(self, error: TenSightError) -> ASGIApp:
        """Return the response to a rejected request."""
        return self._respond(error)


class _Body:
    """A request and the state of its body.

    Attributes:
        held: Bytes that count towards `BodyLimits.held_bytes`.
        check: Validates each chunk and raises an error for an invalid one; None for no validation.
    """

    check: Callable[[bytes], None] | None = None

    def __init__(
        self, owner: BodyLimit, rule: BodyRule, receive: Receive, send: Send, *, ended: bool
    ) -> None:
        self._owner = owner
        self._rule = rule
        self._receive = receive
        self._send = send
        self._ended = ended
        self._read = 0
        self._values = 0
        self._began = time.monotonic()
        self._refused = False
        self._responded = False
        self.held = 0

    async def answer(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application, as long as the body stays within its limits."""

        async def counted() -> Message:
            if self._refused:
                return {"type": "http.disconnect"}
            if self._ended:
                return await self._receive()
            try:
                return await self._next()
            except TenSightError as error:
                await self.refuse(scope, error)
                return {"type": "http.disconnect"}

        try:
            await app(scope, counted, self._pass_on)
        except Exception:
            # After the rejection, an error of the application about the missing body is expected.
            if not self._refused:
                raise

    async def refuse(self, scope: Scope, error: TenSightError) -> None:
        """Respond with an error, unless the application has started a response."""
        self._refused = True
        if not self._responded:
            await self._owner.response(error)(scope, self._receive, self._close_after)

    async def _next(self) -> Message:
        """Receive the next message of the body.

        Raises:
            TenSightError: The body is too slow, too large or invalid.
        """
        limits = self._owner.limits
        late = self._began + limits.grace_s + self._read / limits.bytes_per_s
        try:
            message = await asyncio.wait_for(self._receive(), max(late - time.monotonic(), 0))
        except TimeoutError as error:
            raise SlowRequestError(time.monotonic() - self._began) from error
        piece = len(message.get("body", b""))
        self._read += piece
        if self._rule.held:
            self.held += piece
            self._owner.hold(piece)
        if self._read > self._rule.max_bytes:
            raise _too_large(self._rule.max_bytes)
        if self._rule.max_values is not None:
            self._values += sum(map(message.get("body", b"").count, _JSON_VALUES))
            if self._values > self._rule.max_values:
                raise RequestError(
                    f"The request body has more than {self._rule.max_values:,} JSON values. Send "
                    "fewer."
                )
        if self.check is not None:
            self.check(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message

    async def _pass_on(self, message: Message) -> None:
        if self._refused:
            return
        self._responded = True
        await self._close_after(message)

    async def _close_after(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._ended:
            # Otherwise the server would read the rest of the body only to discard it.
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)


def content_type(scope: Scope) -> str:
    """Return the content type of a request; empty if it has none."""
    kind: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return kind.decode("latin-1")


def is_form(kind: str) -> bool:
    """Return whether a content type is that of a form with files."""
    return kind.lower().startswith("multipart/form-data")


def _too_large(max_bytes: int) -> ImageError:
    size = f"{max_bytes // 2**20} MB" if max_bytes >= 2**20 else f"{max_bytes // 2**10} kB"
    return ImageError(
        "too_large", f"The request body is larger than {size}. Send smaller or fewer photos."
    )
