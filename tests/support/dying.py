"""Run `tensight` so that one photo kills it: python -m tests.support.dying DIGEST ARGUMENT...

The process is killed while it classifies the photo with this SHA-256, as the kernel does when
memory runs out. The arguments after DIGEST are those of `tensight`.
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
    """Run the program."""
    _, digest, *arguments = sys.argv
    predict = LocalPredictor.predict

    async def dies(self: LocalPredictor, photo: Any, **options: Any) -> Any:
        if hashlib.sha256(photo).hexdigest() == digest:
            await asyncio.sleep(0.3)  # so that other photos are being classified, too
            os.kill(os.getpid(), signal.SIGKILL)
        return await predict(self, photo, **options)

    LocalPredictor.predict = dies  # type: ignore[method-assign]
    sys.argv = ["tensight", *arguments]
    tensight()


if __name__ == "__main__":
    main()
