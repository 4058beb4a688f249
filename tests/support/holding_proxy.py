"""A proxy that holds back the end of what a server sends, so that tests can act before it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["HoldingProxy"]


class HoldingProxy:
    """Passes connections on to a server; once armed, it holds back one response from a mark on.

    Args:
        port: Port of the server on 127.0.0.1.
        mark: The text from which the response is held back.

    Attributes:
        port: Port of the proxy on 127.0.0.1.
        passed: Number of responses with the mark that have passed.
        armed: Makes the next response with the mark wait.
        held: Set once it waits.
        release: Lets it pass.
    """

    def __init__(self, port: int, mark: bytes) -> None:
        self._server = port
        self._mark = mark
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._requests: list[bytes] = []
        self.port: int = self._listening.getsockname()[1]
        self.passed = 0
        self.armed = threading.Event()
        self.held = threading.Event()
        self.release = threading.Event()

    def count(self, text: bytes) -> int:
        """Count the parts of requests so far that contain a text."""
        return sum(text in each for each in list(self._requests))

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run within a block, and yield the address."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            self.release.set()
            self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for work in (self._send_requests, self._send_responses):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _send_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while part := client.recv(65536):
                self._requests.append(part)
                server.sendall(part)
            server.shutdown(socket.SHUT_RDWR)

    def _send_responses(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while part := server.recv(65536):
                before, mark, after = part.partition(self._mark)
                client.sendall(before)
                if mark and self.armed.is_set() and not self.held.is_set():
                    self.held.set()
                    self.release.wait()
                client.sendall(mark + after)
                self.passed += bool(mark)
