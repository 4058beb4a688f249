"""`tensight`, whose process some photos kill: python -m tests.support.dying DIGEST ...

A photo with this SHA-256 ends the process the way the kernel does when memory runs out, in the
middle of its prediction. What follows DIGEST are the arguments of `tensight`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from typing import Any

from core.cli.main import main as tensight
from core.serving.local import LocalPredictor


def main() -> None:
    """Run as a program."""
    _, digest, *arguments = sys.argv
    predict = LocalPredictor.predict

    async def dies(self: LocalPredictor, photo: Any, **how: Any) -> Any:
        if hashlib.sha256(photo).hexdigest() == digest:
            await asyncio.sleep(0.3)  # so that others are at work too
            os.kill(os.getpid(), signal.SIGKILL)
        return await predict(self, photo, **how)

    LocalPredictor.predict = dies  # type: ignore[method-assign]
    sys.argv = ["tensight", *arguments]
    tensight()


if __name__ == "__main__":
    main()
