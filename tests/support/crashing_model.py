"""Find a flatbuffer that crashes the engine: `python -m tests.support.crashing_model MODEL OUT`.

The engine parses tables of offsets without checking all of them; a few numbers changed among those
of a good model do it. Which ones differs from model to model, so they are searched for, each try in
a process of its own.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import numpy as np

from core.inference.engine import Engine

# The tables lie behind the weights.
_TABLES = 12_000
_TRIES = 5_000


def _dies(content: bytes, side: int) -> bool:
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        try:
            engine = Engine(content, shape=(side, side), classes=10, threads=1)
            engine.run(np.zeros((3, side, side, 3), np.float32))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) not in (9, 24)


def main() -> None:
    good = Path(sys.argv[1]).read_bytes()
    rng = np.random.default_rng(52)  # finds one for `classic` at once
    words = np.frombuffer(good[: len(good) // 4 * 4], np.int32)
    first = len(words) - _TABLES // 4
    places = first + np.flatnonzero((words[first:] > 0) & (words[first:] < 4000))
    for _ in range(_TRIES):
        changed = words.copy()
        changed[rng.choice(places, 2)] = rng.integers(0, 300, 2)
        content = changed.tobytes() + good[len(words) * 4 :]
        if _dies(content, side=32):
            Path(sys.argv[2]).write_bytes(content)
            return
    sys.exit("no such flatbuffer was found")


if __name__ == "__main__":
    main()
