"""Content of the image; tests/deploy/test_image.py builds and runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from tests.conftest import ROOT
from tests.support.servers import LOOK_S, free_port
from tests.support.tools import run_tool

DEPLOY = ROOT / "deploy"


def test_containerfile_follows_the_rules_of_hadolint() -> None:
    done = run_tool("hadolint", DEPLOY / "Containerfile")
    assert done.returncode == 0, done.stdout


def test_build_context_has_the_copied_files_only() -> None:
    lines = (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    for path in sent:
        assert (ROOT / path).exists(), path
    assert {"bot", "core", "demo", "models", "requirements/image.txt"} <= sent
    copied = re.findall(
        r"^COPY (\S+) ", (DEPLOY / "Containerfile").read_text("utf-8"), re.MULTILINE
    )
    assert set(copied) - {".", "--from=build"} <= sent


def test_versions_of_the_image_are_the_tested_ones() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
        return set(re.findall(r"^(\S+==\S+)", text, re.MULTILINE))

    assert pins("serve") <= pins("image") <= pins("dev")
    assert {"psycopg", "psycopg-binary", "mcp"} <= {pin.split("==")[0] for pin in pins("image")}


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # of http.server
        """Log nothing."""


def _check(port: int, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEPLOY / "healthcheck.py"), str(port), path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_health_check_status_shows_whether_a_server_is_healthy() -> None:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = Thread(target=server.serve_forever, args=(LOOK_S,))
        thread.start()
        try:
            assert _check(server.server_port, "/healthz").returncode == 0
            failed = _check(server.server_port, "/readyz")
        finally:
            server.shutdown()
            thread.join()
    assert failed.returncode == 1
    assert "has status 503" in failed.stderr
    gone = _check(free_port(), "/healthz")
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr
    assert "Traceback" not in gone.stderr
