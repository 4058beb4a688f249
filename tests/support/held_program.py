"""Run `tensight` with a method held up, by the arguments MODULE:CLASS.METHOD FIFO ARGUMENT...

The first call of the method, and those that come meanwhile, wait until a `Hold` releases them.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.servers import wait_for


class Hold:
    """Releases a method that is held up in another process.

    Attributes:
        path: A FIFO; readers wait until `release`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold"
        os.mkfifo(self.path)
        self._writer: int | None = None

    def wait(self) -> None:
        """Wait until a call is held up."""
        wait_for(self._is_read, seconds=120)

    def release(self) -> None:
        """Release all calls."""
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
