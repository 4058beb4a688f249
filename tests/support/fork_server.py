"""Fork processes from one that has imported their packages.

`python -m tests.support.fork_server MODULE...` imports modules, and then reads requests from the
socket that is its stdin. For each it forks a process that goes on as `python -m MODULE` or
`python -c CODE` would. It sends the process id, and later the exit status, to a socket that comes
with the request. It ends when its stdin is closed. `tests.support.forks` is its client.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import types
from dataclasses import dataclass
from typing import Any

__all__ = ["NUMBER", "Request", "main"]

NUMBER = struct.Struct("!i")
"""Format of lengths, process ids and exit statuses."""

# Of the process, its standard input, output and error output, and the socket for its status.
_DESCRIPTORS = 4


@dataclass(frozen=True)
class Request:
    """A process to fork.

    Attributes:
        arguments: As those of Python: `-m MODULE` or `-c CODE`, and those of the program.
        folder: Its working folder.
        environment: Its environment variables.
    """

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def main() -> None:
    """Import modules, and serve requests."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that collections in a fork do not copy these pages
    request = _serve(socket.socket(fileno=0))
    if request is not None:
        _run(request)


def _serve(control: socket.socket) -> Request | None:
    """Fork until the client closes its end; return the request in a fork, None at the end."""
    ended, ends = socket.socketpair()
    ends.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ends.fileno())
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if ended in ready:
                ended.recv(4096)
                _report(running)
            if control not in ready:
                continue
            received = _receive(control)
            if received is None:
                return None
            request, (status, *streams) = received
            process = os.fork()
            if process == 0:
                break
            for stream in streams:
                os.close(stream)
            running[process] = socket.socket(fileno=status)
            running[process].sendall(NUMBER.pack(process))
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for each in (ended, ends, *running.values()):
        each.close()
    os.close(status)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)  # the first takes the place of the control socket
        os.close(stream)
    control.detach()
    return request


def _receive(control: socket.socket) -> tuple[Request, list[int]] | None:
    head, descriptors, _, _ = socket.recv_fds(control, NUMBER.size, _DESCRIPTORS)
    if not head:
        return None
    (length,) = NUMBER.unpack(head)
    body = control.recv(length, socket.MSG_WAITALL)
    return Request(**json.loads(body)), list(descriptors)


def _report(running: dict[int, socket.socket]) -> None:
    for process in list(running):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            with running.pop(process) as client:
                try:
                    client.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
                except OSError:
                    continue  # nobody waits for it


def _run(request: Request) -> None:
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    # The type stubs call the original streams final; here they are those of the fork server.
    sys.stdin = sys.__stdin__ = _stream(0, "r")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w", "backslashreplace")  # type: ignore[misc]
    option, program, *arguments = request.arguments
    sys.argv = [option, *arguments]
    if option == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), module.__dict__)  # noqa: S102  # as with `-c`


def _stream(number: int, mode: str, errors: str = "strict") -> Any:
    # As those that Python opens when it starts.
    line_buffering = 1 if number == 2 or os.isatty(number) else -1
    return open(number, mode, line_buffering, "utf-8", errors, closefd=False)


if __name__ == "__main__":
    main()
