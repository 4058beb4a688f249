"""Caddy with the configurations of deploy/ and of a cluster, on free ports of loopback."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from core.serving.cluster_files import caddyfile
from tests.conftest import ROOT
from tests.support.servers import free_port, wait_for, wait_until_it_answers
from tests.support.tools import require, run_tool

__all__ = ["CADDYFILE", "Proxy", "adapted", "cluster_proxy_running", "proxy_running"]

CADDYFILE = ROOT / "deploy" / "Caddyfile"


@dataclass(frozen=True)
class Proxy:
    """A running Caddy.

    Attributes:
        public: URL that visitors use.
        internal: URL that fronts use for the replicas of the HTTP service.
        metrics: URL that Prometheus asks.
        authority: Certificate of the authority that signed for the public URL.
    """

    public: str
    internal: str
    metrics: str
    authority: Path

    def client(self) -> httpx.Client:
        """Return a client of the public URL."""
        verify = ssl.create_default_context(cafile=self.authority)
        return httpx.Client(base_url=self.public, verify=verify, timeout=120)

    def answers(self) -> bool:
        """Return whether Caddy has started."""
        try:
            with self.client() as client:
                client.get("/metrics")
        except (httpx.HTTPError, OSError):
            # An OSError while Caddy has yet to write the certificate: no file, or half of one.
            return False
        return True


def adapted(**environment: str) -> dict[str, Any]:
    """Return the configuration as Caddy reads it."""
    done = run_tool(
        "caddy", "adapt", "--config", CADDYFILE, "--adapter", "caddyfile", **environment
    )
    assert done.returncode == 0, done.stderr
    configuration: dict[str, Any] = json.loads(done.stdout)
    return configuration


@contextmanager
def proxy_running(
    folder: Path, *, page: str = "", services: Sequence[str] = (), bots: str = ""
) -> Iterator[Proxy]:
    """Run Caddy in front of servers; where no server is given, nothing listens.

    Args:
        folder: Folder for its files.
        page: Address of the page.
        services: Addresses of the replicas of the HTTP service.
        bots: Address of the bot's webhook.
    """
    nobody = f"127.0.0.1:{free_port()}"
    port, internal, metrics = free_port(), free_port(), free_port()
    own = {
        "DOMAIN": f"localhost:{port}",
        "PAGE": page or nobody,
        "SERVICES": " ".join(services) or nobody,
        "BOTS": bots or nobody,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
    }
    configuration = adapted(**own)
    moved = {f":{port}": port, "127.0.0.1:8000": internal, "127.0.0.1:2020": metrics}
    for server in configuration["apps"]["http"]["servers"].values():
        server["listen"] = [f"127.0.0.1:{moved[each]}" for each in server["listen"]]
        # What else Caddy listens at, and installs on the machine.
        server["automatic_https"] = {"disable_redirects": True}
    configuration["admin"] = {"disabled": True}
    authorities = {"local": {"install_trust": False}}
    configuration["apps"]["pki"] = {"certificate_authorities": authorities}
    file = folder / "caddy.json"
    file.write_text(json.dumps(configuration))
    proxy = Proxy(
        f"https://localhost:{port}",
        f"http://127.0.0.1:{internal}",
        f"http://127.0.0.1:{metrics}/metrics",
        folder / "caddy" / "pki" / "authorities" / "local" / "root.crt",
    )
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [require("caddy"), "run", "--config", str(file)], stderr=log, env=os.environ | own
        )
    try:
        wait_for(lambda: process.poll() is not None or proxy.answers())
        assert process.poll() is None, (folder / "caddy.log").read_text()
        yield proxy
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def cluster_proxy_running(folder: Path, upstream: str) -> Iterator[str]:
    """Run Caddy with the configuration for a cluster, and yield its address.

    Args:
        folder: Folder for its files.
        upstream: Address of the server behind it.
    """
    program, port = require("caddy"), free_port()
    file = folder / "Caddyfile"
    # Without its own API, which would listen on a fixed port.
    text = caddyfile(upstream, f"http://127.0.0.1:{port}").replace("{\n", "{\n\tadmin off\n", 1)
    file.write_text(text, "utf-8")
    log = folder / "caddy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "run", "--config", str(file), "--adapter", "caddyfile"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)},
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/v1/models", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
