"""Stand-ins for programs that manage a machine's services, for commands of the documentation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from tests.support.servers import LOOK_S

__all__ = ["stand_ins"]

# `docker compose exec -T SERVICE COMMAND` runs the command here.
_PROGRAM = """#!{python}
import http.client
import os
import sys

program, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
if program == "sudo":
    os.execvp(arguments[0], arguments)
if "exec" in arguments:
    command = arguments[arguments.index("exec") + 3 :]
    os.execvp(command[0], command)
connection = http.client.HTTPConnection("127.0.0.1", {port})
connection.request("POST", "/", chr(0).join([program, *arguments]).encode())
sys.exit(connection.getresponse().status != 200)
"""


@contextmanager
def stand_ins(folder: Path, act: Callable[[list[str]], None]) -> Iterator[str]:
    """Provide `docker`, `sudo` and `systemctl` while the context is open.

    Args:
        folder: New folder for the programs.
        act: Receives a program's name and arguments; the program ends once it has returned, and
            fails if it raises.

    Yields:
        Value of PATH with which these programs are found.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                act(body.decode().split("\0"))
            except Exception:
                self._answer(500)
                raise
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # of http.server
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        folder.mkdir()
        for name in ("docker", "sudo", "systemctl"):
            program = folder / name
            program.write_text(_PROGRAM.format(python=sys.executable, port=server.server_port))
            program.chmod(0o755)
        thread = Thread(target=server.serve_forever, args=(LOOK_S,))
        thread.start()
        try:
            yield os.pathsep.join([str(folder), os.environ["PATH"]])
        finally:
            server.shutdown()
            thread.join()
