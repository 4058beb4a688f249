"""The MCP server: the tools `predict`, `compare` and `models` over a predictor.

It needs the extra `mcp`. `serve_stdio` serves one client of this machine; the page serves the same
tools over HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from core._version import __version__
from core.bundle.leaderboard import ModelInfo
from core.errors import BusyError, RateError, RequestError, TenSightError
from core.inference.prediction import Prediction
from core.photos.decode import MAX_BYTES, read_photo
from core.photos.formats.kind import ACCEPTED
from core.serving.ask import ask_all, votes
from core.serving.http.errors import error_message
from core.serving.http.schemas import AnswerOut, ComparisonOut, ModelsOut
from core.serving.predictor import Predictor

__all__ = ["Admit", "build_server", "error_fields", "serve_stdio"]

Admit = Callable[[Any, int], str | None]
"""Counts photos of whoever sent a request, and returns the key that the predictor shares by.

Arguments are the HTTP request (None over stdio) and the number of photos. It raises RateError where
they are too many.
"""

_URL = re.compile(r"\s*([a-z][a-z0-9+.-]{1,30}:/|data:)", re.IGNORECASE)
_MODEL = {
    "type": ["string", "null"],
    "default": None,
    "description": "Name of the model, as `models` lists it. Without it, the default one answers.",
}
_PHOTO = {
    "type": "string",
    "contentEncoding": "base64",
    "description": f"Bytes of the photo's file in base64: {ACCEPTED}; at most "
    f"{MAX_BYTES // 2**20} MB. Not a URL: photos are not fetched.",
}
_PATH = {
    "type": "string",
    "description": "Path of the photo's file on this machine, in place of `photo`. Not a URL.",
}
_READS_ONLY = types.ToolAnnotations(
    read_only_hint=True, idempotent_hint=True, open_world_hint=False
)

logger = logging.getLogger(__name__)


def build_server(predictor: Predictor, admit: Admit, *, reads_paths: bool) -> Server[Any]:
    """Build the MCP server without serving it.

    Args:
        predictor: Classifies the photos.
        admit: Counts the photos of each client.
        reads_paths: Whether photos may be named by a path of this machine; only for clients that
            run as the same user, as those of stdio do.
    """
    tools = _Tools(predictor, admit, reads_paths=reads_paths)
    listed = tools.listed()
    schemas = {tool.name: tool.input_schema for tool in listed}

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return await tools.call(params.name, params.arguments or {}, context.request)

    return Server(
        "tensight",
        title="TenSight",
        version=__version__,
        description="Tells what is in a photo, how sure it is, and when it does not know.",
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client over standard input and output, until it closes them."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def error_fields(error: TenSightError) -> dict[str, Any]:
    """Return the JSON object of an error; `retry_after`, where present, is in seconds."""
    fields: dict[str, Any] = dict(error_message(error))
    if isinstance(error, BusyError | RateError):
        fields["retry_after"] = error.retry_after
    return fields


class _Tools:
    """The tools: their schemas, the checks of their arguments, and their results."""

    def __init__(self, predictor: Predictor, admit: Admit, *, reads_paths: bool) -> None:
        self._predictor = predictor
        self._admit = admit
        self._photo = {"photo": _PHOTO} | ({"path": _PATH} if reads_paths else {})
        self._reads_paths = reads_paths
        self._calls: dict[str, Callable[[Mapping[str, Any], Any], Awaitable[dict[str, Any]]]] = {
            "predict": self._predict,
            "compare": self._compare,
            "models": self._models,
        }

    def listed(self) -> list[types.Tool]:
        """Return the description of every tool."""
        required = [] if self._reads_paths else ["photo"]
        return [
            types.Tool(
                name="predict",
                title="Classify a photo",
                description="Classify a photo: the most probable label, its calibrated "
                "confidence, and a verdict: `known`, `unsure`, or `none` where the photo shows "
                "none of the labels that the model knows.",
                input_schema=_schema(self._photo | {"model": _MODEL}, required),
                output_schema=AnswerOut.model_json_schema(),
                annotations=_READS_ONLY,
            ),
            types.Tool(
                name="compare",
                title="Compare the models on a photo",
                description="Classify a photo with every model, and tell which answer most of them "
                "give. It counts as one photo for each model.",
                input_schema=_schema(self._photo, required),
                output_schema=ComparisonOut.model_json_schema(),
                annotations=_READS_ONLY,
            ),
            types.Tool(
                name="models",
                title="List the models",
                description="List the available models: their labels, measured "
                "accuracy, size and speed, and which one is the default.",
                input_schema=_schema({}, []),
                output_schema=ModelsOut.model_json_schema(),
                annotations=_READS_ONLY,
            ),
        ]

    async def call(
        self, name: str, arguments: Mapping[str, Any], request: Any
    ) -> types.CallToolResult:
        """Answer a call; errors are answers too, with a stable code and a sentence.

        Raises:
            MCPError: There is no such tool.
        """
        if name not in self._calls:
            known = ", ".join(self._calls)
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {name!r}. Tools: {known}.")
        try:
            return _result(await self._calls[name](arguments, request))
        except TenSightError as error:
            return _result({"error": error_fields(error)}, is_error=True)
        except Exception as error:
            logger.error("A tool failed", exc_info=error)
            unexpected = TenSightError("Something went wrong on our side. Try again later.")
            return _result({"error": error_fields(unexpected)}, is_error=True)

    async def _predict(self, arguments: Mapping[str, Any], request: Any) -> dict[str, Any]:
        self._check(arguments, {*self._photo, "model"})
        model = arguments.get("model")
        if not isinstance(model, str | None):
            raise RequestError("`model` is the name of a model, or null. `models` lists them.")
        client = self._admit(request, 1)
        photo = await self._read(arguments)
        prediction = await self._predictor.predict(photo, model=model, client=client)
        return prediction.to_dict()

    async def _compare(self, arguments: Mapping[str, Any], request: Any) -> dict[str, Any]:
        self._check(arguments, set(self._photo))
        models: list[ModelInfo] = await asyncio.to_thread(self._predictor.models)
        client = self._admit(request, len(models))
        photo = await self._read(arguments)
        answers = await ask_all(self._predictor, models, photo, client=client)
        given = {
            model.config.name: answer for model, (_, answer) in zip(models, answers, strict=True)
        }
        answer, n_votes, n_answers = votes(given)
        return {
            "agreement": {"answer": answer, "models": n_votes, "of": n_answers},
            "answers": {
                name: each.to_dict()
                if isinstance(each, Prediction)
                else {"error": error_fields(each)}
                for name, each in given.items()
            },
        }

    async def _models(self, arguments: Mapping[str, Any], _: Any) -> dict[str, Any]:
        self._check(arguments, set())
        models = await asyncio.to_thread(self._predictor.models)
        return {
            "default": await asyncio.to_thread(self._predictor.default_model),
            "models": [model.to_dict() for model in models],
        }

    def _check(self, arguments: Mapping[str, Any], allowed: set[str]) -> None:
        """Refuse arguments that a tool does not take, and every URL.

        Raises:
            RequestError: There is such an argument.
        """
        photo_is = "the bytes of its file in base64 as `photo`"
        if self._reads_paths:
            photo_is += ", or its path as `path`"
        for name, value in arguments.items():
            if name in {"url", "uri"} or (isinstance(value, str) and _URL.match(value)):
                raise RequestError(
                    f"`{name}` is a URL, and photos are not fetched from URLs. Send the photo "
                    f"itself: {photo_is}."
                )
        if "path" in arguments and "path" not in allowed and "photo" in allowed:
            raise RequestError(
                "Paths are not read over HTTP. Send the photo itself: "
                f"{photo_is}. `tensight mcp` on your own machine reads paths."
            )
        for name in arguments.keys() - allowed:
            takes = ", ".join(f"`{each}`" for each in sorted(allowed)) or "no arguments"
            raise RequestError(f"There is no argument {name!r}. This tool takes {takes}.")
        if "photo" in allowed and sum(arguments.get(each) is not None for each in self._photo) != 1:
            raise RequestError(f"Send one photo: {photo_is}.")

    async def _read(self, arguments: Mapping[str, Any]) -> bytes:
        """Return the bytes of the photo.

        Raises:
            RequestError: The argument is not text, or not base64.
            PhotoReadError: The path cannot be read.
        """
        name = next(each for each in self._photo if arguments.get(each) is not None)
        given = arguments[name]
        if not isinstance(given, str):
            raise RequestError(f"`{name}` must be a string, not {type(given).__name__}.")
        return await asyncio.to_thread(read_photo if name == "path" else _decoded, given)


def _decoded(text: str) -> bytes:
    """Decode base64, ignoring white space such as line breaks.

    Raises:
        RequestError: The text is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"`photo` is not base64 ({error}). Send the bytes of the photo's file in base64, "
            "without anything before or after them."
        ) from error


def _schema(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def _result(fields: dict[str, Any], *, is_error: bool = False) -> types.CallToolResult:
    """Return fields as structured content, and as text for clients that read only text."""
    text = types.TextContent(type="text", text=json.dumps(fields, allow_nan=False))
    return types.CallToolResult(content=[text], structured_content=fields, is_error=is_error)
