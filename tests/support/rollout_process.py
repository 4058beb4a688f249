"""A process that answers photos until it is killed: python -m tests.support.rollout_process PHOTO

It writes the revision of its latest answer to the file `answered` in TENSIGHT_HOME. Rollouts are
applied and evaluated continuously; every shadow is a small program that answers alike.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from functools import partial
from pathlib import Path

from core.rollout.shadow import ShadowRunner
from core.settings import Settings
from tests.support.rollouts import MODEL, fake_worker, rollout_predictor


def main() -> None:
    """Answer photos for 20 clients in turn."""
    settings, content = Settings(threads=1), Path(sys.argv[1]).read_bytes()
    # The shadow starts at once, and at the usual priority.
    run_shadow = partial(ShadowRunner, command=fake_worker("answer(usual)"))
    predictor = rollout_predictor(settings, run_shadow=run_shadow)
    predictor.warm()
    for number in itertools.count():
        # Bytes after the end of a JPEG are ignored, and make it another photo.
        photo = content + number.to_bytes(4)
        asked = predictor.predict(photo, model=MODEL, client=f"chat:{number % 20}")
        (settings.home / "answered").write_text(asyncio.run(asked).revision, "ascii")
        time.sleep(0.05)  # shadows run while no photo waits


if __name__ == "__main__":
    main()
