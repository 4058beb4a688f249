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

from core.registry.catalog import Catalog
from core.rollout.shadow import ShadowRunner
from core.rollout.traffic import Rollouts, Timings
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.store import Store
from tests.support.rollouts import MODEL, fake_worker


def main() -> None:
    """Answer photos for 20 clients in turn."""
    settings, content = Settings(threads=1), Path(sys.argv[1]).read_bytes()
    catalog = Catalog(settings)
    predictor = LocalPredictor(
        catalog,
        queue_size=8,
        deadline_s=60,
        rollouts=lambda is_idle: Rollouts(
            catalog,
            lambda: Store.find(settings),
            is_idle=is_idle,
            timings=Timings(poll_s=0.02, store_s=0.05),
            # It starts at once, and at the usual priority.
            run_shadow=partial(ShadowRunner, command=fake_worker("answer(usual)")),
        ),
    )
    predictor.warm()
    for number in itertools.count():
        # Bytes after the end of a JPEG are ignored, and make it another photo.
        photo = content + number.to_bytes(4)
        asked = predictor.predict(photo, model=MODEL, client=f"chat:{number % 20}")
        (settings.home / "answered").write_text(asyncio.run(asked).revision, "ascii")
        time.sleep(0.05)  # shadows run while no photo waits


if __name__ == "__main__":
    main()
