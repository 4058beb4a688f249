"""`tensight` with one of its methods held up: python -m tests.held MODULE:CLASS.METHOD FIFO ...

The first call waits until a `Hold` lets it go; so do those that come meanwhile, and none after.
What follows FIFO are the arguments of `tensight`.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.ports import wait_for


class Hold:
    """What another process is held up at.

    Attributes:
        path: A FIFO; who reads it waits.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold"
        os.mkfifo(self.path)
        self._writer: int | None = None

    def wait(self) -> None:
        """Return once somebody is held up."""
        wait_for(self._is_read, seconds=60)

    def go(self) -> None:
        """Let them go."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def _is_read(self) -> bool:
        try:
            self._writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO  # nobody reads it yet
            return False
        return True


def main() -> None:
    """Run as a program."""
    where, fifo, *arguments = sys.argv[1:]
    module, _, what = where.partition(":")
    kind, name = what.split(".")
    owner = getattr(import_module(module), kind)
    method = getattr(owner, name)
    gone = threading.Event()

    def held(*given: Any, **named: Any) -> Any:
        if not gone.is_set():
            Path(fifo).read_bytes()  # ends once nobody writes any more
            gone.set()
        return method(*given, **named)

    setattr(owner, name, held)
    sys.argv = ["tensight", *arguments]
    import_module("core.cli.main").main()


if __name__ == "__main__":
    main()
