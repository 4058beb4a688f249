"""Machines of a Ray cluster, started with the commands of docs/SCALING.md on this one."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ray_cluster import Cluster, lasting_port, processes_of
from tests.support.scaling_page import commands_of, run_block
from tests.support.servers import wait_for

__all__ = ["Machines", "machines"]

_FIRST, _OTHER, _DEPLOY = range(3)


@dataclass
class Machines:
    """Machines with room for one replica each.

    Attributes:
        folder: Folder that holds TENSIGHT_HOME of each machine.
        environment: Variables of all machines.
        port: Port of the service.
        dashboard_port: Port of the first machine for Ray's tools.
        started: TENSIGHT_HOME of each machine that was started.
    """

    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=lasting_port)
    dashboard_port: int = field(default_factory=lasting_port)
    started: list[Path] = field(default_factory=list)
    _head_port: int = 0

    @property
    def service(self) -> Cluster:
        """The service of all machines; its processes are those of the first one."""
        return Cluster(f"http://127.0.0.1:{self.port}", self.started[0])

    def deploy_on_new_machines(self) -> None:
        """Start two machines as a cluster, and deploy two replicas."""
        first = self.start_cluster()
        self.run(commands_of("Several machines")[_DEPLOY], first)

    def start_cluster(self) -> Path:
        """Start two machines as a cluster; return TENSIGHT_HOME of the first one."""
        self._head_port = lasting_port()
        first = self._start(_FIRST)
        self.join()
        return first

    def join(self) -> None:
        """Start another machine, which joins the cluster."""
        self._start(_OTHER)

    def lose(self, home: Path) -> None:
        """Kill all processes of a machine at once."""
        for process in processes_of(home):
            os.kill(process, signal.SIGKILL)
        wait_for(lambda: not processes_of(home))

    def _start(self, block: int) -> Path:
        home = self.folder / f"machine-{len(self.started) + 1}"
        home.mkdir(parents=True)
        self.started.append(home)
        self.run(commands_of("Several machines")[block], home)
        return home

    def run(self, commands: str, home: Path) -> None:
        """Run commands of the page on a machine, with ports of this test."""
        token = self.folder / "token"
        if not token.exists():
            token.write_text(secrets.token_hex(32), "ascii")
        node = "--num-cpus=1 --min-worker-port=0 --max-worker-port=0 "
        node += "--dashboard-agent-listen-port=0 --object-store-memory=268435456"
        head = f"--dashboard-port={self.dashboard_port} --ray-client-server-port={lasting_port()}"
        for documented, here in {
            "/etc/tensight/ray-token": str(token),
            "FIRST:6379": f"127.0.0.1:{self._head_port}",
            "--head --port=6379": f"--head --port={self._head_port} {head}",
            "ray start": f"ray start {node}",
            "--replicas 2-8": "--replicas 2",
        }.items():
            commands = commands.replace(documented, here)
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self.dashboard_port}",
            "RAY_agent_register_timeout_ms": "120000",
            "TENSIGHT_HOME": str(home),
            "TENSIGHT_SERVICE_PORT": str(self.port),
        }
        run_block(commands, **(dict(self.environment) | own))


@contextmanager
def machines(folder: Path, environment: Mapping[str, str]) -> Iterator[Machines]:
    """Provide machines, whose processes are killed at the end.

    Args:
        folder: New folder for their files.
        environment: Variables of all of them.
    """
    folder.mkdir()
    several = Machines(folder, environment)
    try:
        yield several
    finally:
        for home in several.started:
            several.lose(home)
