"""Caddy in front of page, service and bot: which requests it passes on, and to which server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import gradio as gr
import httpx
import pytest

from core.serving.http.body_limit import MAX_FORM_BYTES, BodyRule
from demo.context import ClientRateLimiter
from demo.guard import LIVE_PATH, MCP_PATH, page_middleware
from demo.unread_events import UnreadEventLimiter
from tests.support.caddy import CADDYFILE, Proxy, adapted, proxy_running
from tests.support.servers import LOOK_S, free_port, wait_for
from tests.support.tools import run_tool

KIB, MIB = 2**10, 2**20
# One path of each limit of the page.
PAGE_PATHS = (
    *("/", LIVE_PATH, MCP_PATH, "/gradio_api/upload", "/gradio_api/queue/join"),
    *(f"/gradio_api/{each}/predict" for each in ("api", "call", "run", "stream")),
)


def _limit_of_the_page(path: str) -> int:
    """Return how many bytes of a body the page itself accepts at a path."""
    page = gr.Blocks(analytics_enabled=False)
    middleware = page_middleware(
        page,
        upload_limiter=ClientRateLimiter(1),
        uploads=None,
        unread_events=UnreadEventLimiter(page),
        proxies=1,
        mcp=True,
    )
    (rule_of,) = (each.kwargs["rule_of"] for each in middleware if "rule_of" in each.kwargs)
    rule: BodyRule = cast("Any", rule_of)({"type": "http", "method": "POST", "path": path})
    return rule.max_bytes


# Bytes of a body that the servers accept, by path.
LIMITS = {
    "/v1/predict": MAX_FORM_BYTES,
    "/telegram": MIB,
    **{path: _limit_of_the_page(path) for path in PAGE_PATHS},
}


class _Echo(BaseHTTPRequestHandler):
    """Answers with a description of the request."""

    def do_GET(self) -> None:
        length = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        answer = {"path": self.path, "headers": dict(self.headers), "bytes": length}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # of http.server
        """Log nothing."""


class _EchoServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore bodies that the proxy has cut off."""


@contextmanager
def _echoing() -> Iterator[str]:
    """Run a server that answers with a description of each request; yield its address."""
    with _EchoServer(("127.0.0.1", 0), _Echo) as server:
        thread = Thread(target=server.serve_forever, args=(LOOK_S,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_caddyfile_is_valid_and_formatted() -> None:
    valid = run_tool("caddy", "validate", "--config", CADDYFILE, "--adapter", "caddyfile")
    assert valid.returncode == 0, valid.stderr
    formatted = run_tool("caddy", "fmt", CADDYFILE)
    assert formatted.stdout == CADDYFILE.read_text("utf-8")


@pytest.mark.parametrize("written", ["", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_proxy_does_not_answer_before_its_certificate_is_written(
    written: str, tmp_path: Path
) -> None:
    authority = tmp_path / "root.crt"
    proxy = Proxy("https://localhost:1", "http://localhost:1", "http://localhost:1", authority)
    assert not proxy.answers()
    authority.write_text(written)
    assert not proxy.answers()


def test_proxy_routes_by_path_and_names_the_client(tmp_path: Path) -> None:
    with (
        _echoing() as page,
        _echoing() as service,
        _echoing() as bot,
        proxy_running(tmp_path, page=page, services=[service], bots=bot) as proxy,
        proxy.client() as client,
    ):
        forged = {"X-Forwarded-For": "192.0.2.1"}
        for path, server in {"/": page, "/v1/models": service, "/telegram": bot}.items():
            answer = client.get(path, headers=forged)
            assert answer.headers["strict-transport-security"]
            seen = answer.json()
            assert seen["path"] == path
            assert seen["headers"]["X-Forwarded-For"] == "127.0.0.1"
            assert seen["headers"]["X-Forwarded-Proto"] == "https"
            assert httpx.get(f"http://{server}/").json()["path"] == "/"
        assert httpx.get(f"{proxy.internal}/v1/models").json()["path"] == "/v1/models"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/METRICS", "//metrics"])
def test_proxy_hides_routes_of_operators(path: str, tmp_path: Path) -> None:
    with (
        _echoing() as server,
        proxy_running(tmp_path, page=server, services=[server]) as proxy,
        proxy.client() as client,
    ):
        assert client.get(f"{proxy.public}{path}").status_code == 404


def test_body_limits_are_those_of_the_servers() -> None:
    servers = adapted()["apps"]["http"]["servers"].values()
    (public,) = (each for each in servers if ":443" in each["listen"])
    found = {path: _body_limits(public["routes"], path) for path in LIMITS}
    assert found == {path: [limit] for path, limit in LIMITS.items()}


def _body_limits(routes: list[dict[str, Any]], path: str) -> list[int]:
    """Return the limits that apply to a path, of routes as Caddy reads them."""
    limits = []
    for route in routes:
        if not all(_matches(each, path) for each in route.get("match", [])[:1]):
            continue
        for handler in route["handle"]:
            if handler["handler"] == "subroute":
                limits += _body_limits(handler["routes"], path)
            elif handler["handler"] == "request_body":
                limits.append(handler["max_size"])
    return limits


def _matches(matcher: dict[str, Any], path: str) -> bool:
    excluded = any(_matches(each, path) for each in matcher.get("not", []))
    patterns = matcher.get("path")
    return not excluded and (
        patterns is None
        or any(
            path.startswith(each[:-1]) if each.endswith("*") else path == each for each in patterns
        )
    )


def test_oversized_bodies_do_not_take_a_replica_away_from_others(tmp_path: Path) -> None:
    with (
        _echoing() as server,
        proxy_running(tmp_path, page=server, services=[server], bots=server) as proxy,
        proxy.client() as client,
    ):
        for path in ("/", "/telegram", "/gradio_api/queue/join"):
            within, beyond = b"x" * LIMITS[path], b"x" * (LIMITS[path] + 1)
            assert client.post(path, content=within).json()["bytes"] == len(within)
            assert client.post(path, content=beyond).status_code >= 400
            assert client.post(path, content=within).status_code == 200


def test_head_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with (
        _echoing() as server,
        proxy_running(tmp_path, page=server) as proxy,
        proxy.client() as client,
    ):
        assert client.get("/", headers={"X-Long": "x" * 8 * KIB}).status_code == 200
        assert client.get("/", headers={"X-Long": "x" * 32 * KIB}).status_code == 431


def test_photos_go_to_the_available_replicas(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with (
        _echoing() as server,
        proxy_running(tmp_path, services=[gone, server]) as proxy,
        httpx.Client(base_url=proxy.internal, timeout=120) as client,
    ):
        assert {client.post("/v1/predict").status_code for _ in range(10)} == {200}


def test_metrics_of_the_proxy_have_the_names_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = CADDYFILE.parent / "grafana" / "dashboards" / "tensight.json"
    with (
        _echoing() as server,
        proxy_running(tmp_path, page=server, services=[server]) as proxy,
        proxy.client() as client,
    ):
        client.get("/")
        names = set(re.findall(r"caddy_\w+", dashboard.read_text("utf-8")))
        assert names

        def complete() -> bool:
            text = httpx.get(proxy.metrics).text
            assert 'handler="subroute"' in text
            return all(name in text for name in names)

        wait_for(complete)
