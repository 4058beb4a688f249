"""The MCP endpoint of the page, asked by the official SDK's client over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, types
from mcp.shared.exceptions import MCPError

from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from demo.context import ClientRateLimiter
from demo.mcp import McpEndpoint
from demo.tabs import about
from tests.conftest import ROOT
from tests.demo.running import served
from tests.support.servers import LOOK_S

_LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
_ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def url(predictor: LocalPredictor) -> Iterator[str]:
    photo_limiter = ClientRateLimiter(1000)
    with served(
        predictor, photo_limiter=photo_limiter, mcp=partial(McpEndpoint, predictor, photo_limiter)
    ) as address:
        yield f"{address}/mcp"


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Run another server; yield its address, and the paths that were requested."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/x.jpg", asked
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, name: str, given: dict[str, Any], mode: str = "auto") -> types.CallToolResult:
    async def call() -> types.CallToolResult:
        async with Client(url, mode=mode) as client:
            return await client.call_tool(name, given)

    return asyncio.run(call())


def error_of(result: types.CallToolResult) -> dict[str, Any]:
    assert result.is_error
    error: dict[str, Any] = result.structured_content["error"]
    return error


def in_base64(photo: Path) -> str:
    return base64.b64encode(photo.read_bytes()).decode()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_client_lists_and_calls_the_tools(
    url: str, photo: Path, catalog: Catalog, mode: str
) -> None:
    async def talk() -> None:
        async with Client(url, mode=mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"predict", "compare", "models"}
            assert set(tools["predict"].input_schema["properties"]) == {"photo", "model"}
            sent = {"photo": in_base64(photo)}
            predicted = await client.call_tool("predict", sent | {"model": "classic"})
            compared = await client.call_tool("compare", sent)
            models = await client.call_tool("models", {})
        expected = catalog.load("classic").predict(photo)
        assert predicted.structured_content["confidence"] == expected.confidence
        names = [each["name"] for each in models.structured_content["models"]]
        assert list(compared.structured_content["answers"]) == names

    asyncio.run(talk())


@pytest.mark.parametrize("tool", ["predict", "compare"])
@pytest.mark.parametrize("argument", ["photo", "path", "url"])
def test_url_is_refused_and_not_fetched(
    url: str, elsewhere: tuple[str, list[str]], tool: str, argument: str
) -> None:
    address, asked = elsewhere
    error = error_of(ask(url, tool, {argument: address}))
    assert error["code"] == "bad_request"
    assert f"`{argument}` is a URL, and photos are not fetched from URLs" in error["message"]
    assert asked == []


@pytest.mark.parametrize("tool", ["predict", "compare"])
def test_path_is_refused_over_http(url: str, photo: Path, tool: str) -> None:
    for given in ({"path": str(photo)}, {"path": "/etc/passwd", "photo": in_base64(photo)}):
        error = error_of(ask(url, tool, given))
        assert error["code"] == "bad_request"
        assert "Paths are not read over HTTP" in error["message"]
    # As base64, a path is bytes that are no photo.
    assert error_of(ask(url, tool, {"photo": "/etc/passwd+"}))["code"] == "not_an_image"


def test_photo_of_too_many_bytes_is_a_tool_error(url: str) -> None:
    photo = base64.b64encode(bytes(MAX_BYTES + 1)).decode()
    assert error_of(ask(url, "predict", {"photo": photo}))["code"] == "too_large"


def test_photos_share_the_rate_limit_of_the_page(predictor: LocalPredictor, photo: Path) -> None:
    photo_limiter = ClientRateLimiter(1)
    with served(
        predictor, photo_limiter=photo_limiter, mcp=partial(McpEndpoint, predictor, photo_limiter)
    ) as page:
        sent = {"photo": in_base64(photo), "model": "classic"}
        assert not ask(f"{page}/mcp", "predict", sent).is_error
        error = error_of(ask(f"{page}/mcp", "predict", sent))
        assert error["code"] == "too_many_requests"
        assert 0 < error["retry_after"] <= 60
        with photo.open("rb") as stream:
            uploaded = httpx.post(f"{page}/gradio_api/upload", files={"files": stream}).json()[0]
        body = {"data": [{"path": uploaded}, "classic", False]}
        event = httpx.post(f"{page}/gradio_api/call/predict", json=body).json()["event_id"]
        told = httpx.get(f"{page}/gradio_api/call/predict/{event}", timeout=60).text
        assert "too_many_requests" in told


def test_unknown_tool_is_a_protocol_error(url: str) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # the client may wrap it in a group
        ask(url, "detect", {})
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MCPError)
    assert "There is no tool 'detect'" in str(error)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "rebound.example"}, {"Origin": "http://other.example"}, {"Origin": "null"}],
)
def test_browser_page_of_another_site_is_refused(url: str, headers: dict[str, str]) -> None:
    answer = httpx.post(url, json=_LIST, headers=_ACCEPT | headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["data"]["code"] == "bad_request"


def test_own_origin_is_accepted(url: str) -> None:
    headers = _ACCEPT | {"Origin": url.removesuffix("/mcp")}
    assert len(httpx.post(url, json=_LIST, headers=headers).json()["result"]["tools"]) == 3


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
def test_endpoint_accepts_only_post(url: str, method: str) -> None:
    answer = httpx.request(method, url)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1}']
)
@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28", "9"])
def test_broken_message_is_refused(
    url: str, body: bytes, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = _ACCEPT | {"Content-Type": "application/json", "MCP-Protocol-Version": version}
    assert 400 <= httpx.post(url, content=body, headers=headers).status_code < 500
    assert not [record for record in caplog.records if record.exc_info]


def test_page_without_the_option_has_no_endpoint(predictor: LocalPredictor) -> None:
    with served(predictor) as page:
        assert httpx.post(f"{page}/mcp", json=_LIST, headers=_ACCEPT).status_code in (404, 405)


def test_configuration_that_the_page_shows_reaches_the_endpoint(url: str, photo: Path) -> None:
    (server,) = json.loads(about.MCP)["mcpServers"].values()
    here = server["url"].replace("http://127.0.0.1:7860", url.removesuffix("/mcp"))
    assert server["type"] == "http"
    assert not ask(here, "predict", {"photo": in_base64(photo)}).is_error


def test_configuration_without_the_endpoint_starts_a_command() -> None:
    (server,) = json.loads(about.MCP_STDIO)["mcpServers"].values()
    # tests/core/serving/test_mcp.py asks this command.
    assert [server["command"], *server["args"]] == ["tensight", "mcp"]


def test_python_of_the_documentation_runs(url: str, photo: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "MCP.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(photo, tmp_path / "photo.jpg")
    run = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:7860/mcp", url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "'label'" in run.stdout


@pytest.mark.parametrize("configuration", [about.MCP, about.MCP_STDIO])
def test_configuration_of_the_page_is_that_of_the_documentation(configuration: str) -> None:
    lines = (ROOT / "docs" / "MCP.md").read_text("utf-8").splitlines()
    documented = [json.loads(line) for line in lines if line.startswith("    {")]
    assert json.loads(configuration) in documented


def test_message_of_too_many_values_is_refused(url: str) -> None:
    content = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","x":[' + b"[]," * 1_000_000 + b"0]}"
    headers = {"Content-Type": "application/json", **_ACCEPT}
    answer = httpx.post(url, content=content, headers=headers, timeout=60)
    assert answer.status_code == 400
    assert "more than 1,000 JSON values" in answer.json()["error"]["message"]
