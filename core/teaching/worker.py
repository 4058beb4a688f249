"""Learn a head in a process of its own: `python -m core.teaching.worker`.

Standard input receives embeddings, labels and the embedding space as the arrays of an .npz file;
standard output returns the head and the results of cross-validation in the same format. The exit
status is 0 if a head was learned; otherwise the last line of stderr says why not.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np

from core.inference.head import read_space, write_head
from core.inference.npz import read_arrays, write_arrays
from core.system import lower_limit
from core.teaching.examples import Examples
from core.teaching.learner import teach_head

__all__ = ["main"]

_INPUTS = ("embeddings", "labels", "space")
_MAX_INPUT_BYTES = 16_000_000
_MEMORY_BYTES = 6 * 2**30


def main() -> None:
    """Learn a head from standard input, and write it to standard output."""
    # Some systems lack this limit. The parent process enforces the limit on time.
    with suppress(ValueError, OSError):
        lower_limit("RLIMIT_AS", _MEMORY_BYTES)
    arrays = read_arrays(sys.stdin.buffer.read(), _INPUTS, max_bytes=_MAX_INPUT_BYTES)
    embeddings = arrays["embeddings"].astype(np.float32)
    space = read_space(arrays["space"].tobytes(), embeddings.shape[-1])
    taught = teach_head(Examples(embeddings, arrays["labels"].astype(np.int64)), space)
    numbers = np.asarray([taught.temperature, taught.none_below, taught.strength])
    sys.stdout.buffer.write(
        write_arrays(
            {
                "head": np.frombuffer(write_head(taught.head), np.uint8),
                "numbers": numbers,
                "probabilities": taught.probabilities,
                "known_scores": taught.known_scores,
            }
        )
    )


if __name__ == "__main__":
    main()
