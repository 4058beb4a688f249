"""Checks of events that Gradio would answer with a traceback."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio_client.utils import construct_args
from pydantic import TypeAdapter, ValidationError

from core.errors import RequestError

__all__ = ["EventChecks", "Refusal"]

# Maximum depth of lists and objects in a body; events of the page have 6. Gradio copies and prints
# values by recursion, which fails long after the parser has accepted them.
_MAX_DEPTH = 64
_CALL = re.compile(r"call/([^/]+)")
_INDEX: TypeAdapter[int | None] = TypeAdapter(int | None)
_BY_NAME = "call/v2/"
# Events that bypass the queue or change its events; the page sends none.
_NOT_QUEUED = ("api/", "run/", "stream/")


@dataclass(frozen=True)
class Refusal:
    """A request that is refused.

    Attributes:
        error: What is wrong with it.
        status: Status of the response.
    """

    error: RequestError
    status: int = 400


class EventChecks:
    """Finds what is wrong with the body of a request to Gradio's API, before Gradio reads it.

    Args:
        page: The page, with all its event handlers.
    """

    def __init__(self, page: gr.Blocks) -> None:
        self._page: Any = page
        self._endpoints: dict[str, Any] | None = None

    def refusal(self, path: str, value: Any) -> Refusal | None:
        """Return why a request is refused; None if Gradio can answer it.

        Args:
            path: Path within Gradio's API.
            value: The parsed body.
        """
        problem = _problem(value)
        if problem is not None:
            return Refusal(problem)
        if path.startswith(_NOT_QUEUED):
            message = (
                "This page answers events through its queue. Send it to /gradio_api/call/NAME."
            )
            return Refusal(RequestError(message), 404)
        if not isinstance(value, dict):
            return None  # Gradio reports the error
        if path.startswith(_BY_NAME):
            return self._refused_by_name(path.removeprefix(_BY_NAME), value)
        named = _CALL.fullmatch(path)
        if path != "queue/join" and named is None:
            return None
        return self._refused_event("" if named is None else named[1], value)

    def _refused_event(self, name: str, event: dict[str, Any]) -> Refusal | None:
        """Check the function and the number of values of an event; `name` is empty for a join."""
        data, functions = event.get("data"), self._page.fns
        try:
            index = None if name else _INDEX.validate_python(event.get("fn_index"))
        except ValidationError:
            return None  # Gradio reports the error
        if index is not None:
            function = functions.get(index)
        elif name:
            function = next((each for each in functions.values() if each.api_name == name), None)
        else:
            return None  # Gradio reports the error
        if function is None or function.fn is None:
            return _no_such_event()
        if not isinstance(data, list):
            return None  # Gradio reports the error
        needed = len(function.inputs)
        from_api = sum(not each.skip_api for each in function.inputs) if name else needed
        if len(data) < needed and len(data) != from_api:
            message = (
                f"The event has {len(data)} values in `data`, and needs {from_api}. See "
                "/gradio_api/info."
            )
            return Refusal(RequestError(message))
        return None

    def _refused_by_name(self, name: str, values: dict[str, Any]) -> Refusal | None:
        """Check the names of the values of a call."""
        if self._endpoints is None:
            self._endpoints = self._page.get_api_info()["named_endpoints"]
        endpoint = self._endpoints.get(f"/{name}")
        if endpoint is None:
            return _no_such_event()
        given = {key: each for key, each in values.items() if key != "oauth_token"}
        try:
            construct_args(endpoint["parameters"], (), given)
        except TypeError as error:
            return Refusal(RequestError(str(error)))
        return None


def _no_such_event() -> Refusal:
    return Refusal(RequestError("This page has no such event. /gradio_api/info lists them."), 404)


def _problem(value: Any) -> RequestError | None:
    """Return why a value cannot be processed or repeated in a response; None if it can."""
    if _is_too_deep(value):
        return RequestError(f"The JSON is nested more than {_MAX_DEPTH} levels deep. Flatten it.")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return RequestError(
            "The JSON contains NaN, Infinity or an unpaired surrogate. Send finite numbers and "
            "valid Unicode."
        )
    return None


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True
