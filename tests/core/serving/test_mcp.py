"""The MCP tools over standard input and output, asked by the official SDK's client."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client, types

from core.errors import BusyError, TenSightError
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.mcp import build_server
from tests.conftest import ROOT


def ask_stdio(
    calls: list[tuple[str, dict[str, Any]]], **settings: str
) -> list[types.CallToolResult]:
    """Start `tensight mcp`, and return the results of calls to it."""
    models = {"PYTHONPATH": str(ROOT), "TENSIGHT_MODELS": str(ROOT / "models")}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "core.cli", "mcp"],
        env={"TENSIGHT_HOME": os.environ["TENSIGHT_HOME"]} | models | settings,
    )

    async def ask() -> list[types.CallToolResult]:
        async with Client(stdio_client(server)) as client:
            return [await client.call_tool(name, given) for name, given in calls]

    return asyncio.run(ask())


def ask_server(predictor: LocalPredictor, name: str, given: dict[str, Any]) -> types.CallToolResult:
    server = build_server(predictor, lambda _request, _photos: None, reads_paths=True)

    async def ask() -> types.CallToolResult:
        async with Client(server) as client:
            return await client.call_tool(name, given)

    return asyncio.run(ask())


def in_base64(photo: Path) -> str:
    return base64.b64encode(photo.read_bytes()).decode()


def error_of(result: types.CallToolResult) -> dict[str, Any]:
    assert result.is_error
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    assert json.loads(content.text) == result.structured_content
    error: dict[str, Any] = result.structured_content["error"]
    return error


def test_stdio_client_sends_paths_and_base64(photo: Path, catalog: Catalog) -> None:
    lines = base64.encodebytes(photo.read_bytes()).decode()
    by_path, by_bytes, models, compared, missing = ask_stdio(
        [
            ("predict", {"path": str(photo), "model": "classic"}),
            ("predict", {"photo": lines, "model": "classic"}),
            ("models", {}),
            ("compare", {"path": str(photo)}),
            ("predict", {"path": str(photo.with_name("none.jpg"))}),
        ]
    )
    expected = catalog.load("classic").predict(photo)
    for result in (by_path, by_bytes):
        assert not result.is_error
        answer = Prediction.from_dict(result.structured_content)
        assert (answer.label, answer.confidence) == (expected.label, expected.confidence)
    names = {model["name"] for model in models.structured_content["models"]}
    assert models.structured_content["default"] in names
    assert set(compared.structured_content["answers"]) == names
    assert compared.structured_content["agreement"]["of"] == len(names)
    assert error_of(missing)["code"] == "not_readable"


def test_stdio_client_gets_the_seconds_until_a_retry(photo: Path) -> None:
    call = ("predict", {"path": str(photo), "model": "classic"})
    first, second = ask_stdio([call, call], TENSIGHT_PHOTOS_PER_MINUTE="1")
    assert not first.is_error
    error = error_of(second)
    assert error["code"] == "too_many_requests"
    assert 0 < error["retry_after"] <= 60


class FailingPredictor(LocalPredictor):
    def __init__(self, catalog: Catalog, error: Exception) -> None:
        super().__init__(catalog, queue_size=1, deadline_s=30)
        self.error = error

    async def predict(self, *args: Any, **options: Any) -> Prediction:
        raise self.error


@pytest.mark.parametrize("tool", ["predict", "compare"])
def test_busy_predictor_is_a_tool_error_with_code_and_seconds(
    catalog: Catalog, photo: Path, tool: str
) -> None:
    predictor = FailingPredictor(catalog, BusyError(7))
    error = error_of(ask_server(predictor, tool, {"photo": in_base64(photo)}))
    assert (error["code"], error["retry_after"]) == ("busy", 7)


def test_unexpected_failure_hides_its_cause(
    catalog: Catalog, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = FailingPredictor(catalog, ValueError("secret"))
    error = error_of(ask_server(predictor, "predict", {"path": str(photo)}))
    assert error["code"] == TenSightError.code
    assert "secret" not in json.dumps(error)
    assert "A tool failed" in caplog.text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Send one photo"),
        ({"photo": "AAAA", "path": "x.jpg"}, "Send one photo"),
        ({"photo": 5}, "must be a string, not int"),
        ({"photo": "not base64!"}, "is not base64"),
        ({"photo": "AAAA", "top": 3}, "no argument 'top'"),
        ({"photo": "AAAA", "model": 5}, "name of a model"),
        ({"photo": "data:image/png;base64,AAAA"}, "is a URL"),
        ({"url": "x.jpg"}, "is a URL"),
        ({"path": "file:///etc/hostname"}, "is a URL"),
    ],
)
def test_wrong_arguments_are_reported(catalog: Catalog, given: dict[str, Any], told: str) -> None:
    predictor = LocalPredictor(catalog, queue_size=1, deadline_s=30)
    error = error_of(ask_server(predictor, "predict", given))
    predictor.close()
    assert error["code"] == "bad_request"
    assert told in error["message"]
