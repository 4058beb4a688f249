"""Run the learner in a worker process with limits on memory and time."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import MissingExtraError, TeachingError
from core.inference.head import EmbeddingSpace, write_space
from core.inference.npz import CORRUPT, read_arrays, write_arrays
from core.teaching.stored_examples import StoredExamples

__all__ = ["LearnedHead", "check_installed", "learn"]

_TIMEOUT_S = 300.0
_MAX_OUTPUT_BYTES = 16_000_000
# Environment variables that the worker inherits: it must see no token, key or password.
_INHERITED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_OUTPUTS = ("head", "numbers", "probabilities", "known_scores")


@dataclass(frozen=True, eq=False)
class LearnedHead:
    """A serialised head with its calibration and its cross-validated predictions.

    Attributes:
        head: Content of head.npz.
        temperature, none_below, probabilities, known_scores: See
            `core.teaching.learner.TaughtHead`.
    """

    head: bytes
    temperature: float
    none_below: float
    probabilities: NDArray[np.float64]
    known_scores: NDArray[np.float64]


def check_installed() -> None:
    """Check that what learning needs is installed.

    Raises:
        MissingExtraError: The extra `teach` is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in ("scipy", "sklearn")):
        raise MissingExtraError("teach", "Teaching a classifier")


def learn(
    examples: StoredExamples, space: EmbeddingSpace, *, timeout_s: float = _TIMEOUT_S
) -> LearnedHead:
    """Learn a head in a worker process.

    Args:
        examples: At least three photos of each of at least two classes.
        space: Projection of the base's embeddings.
        timeout_s: Limit on the elapsed time, in seconds.

    Raises:
        MissingExtraError: The extra `teach` is not installed.
        TeachingError: The worker failed, or did not finish in time.
    """
    check_installed()
    inputs = write_arrays(
        {
            "embeddings": examples.embeddings,
            "labels": examples.labels,
            "space": np.frombuffer(write_space(space), np.uint8),
        }
    )
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    # The matrices are small. Threads that wait actively for each other took more than ten times as
    # long as one where other processes, such as the one that answers photos, used the processors.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        completed = subprocess.run(
            [sys.executable, "-m", "core.teaching.worker"],
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            input=inputs,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TeachingError(
            "failed",
            f"Learning did not finish within {timeout_s:g} s. Nothing was changed. Try again "
            "with fewer photos, or when the computer is less busy.",
        ) from error
    except OSError as error:
        raise TeachingError(
            "failed", f"The learning process cannot be started: {error}. Try again."
        ) from error
    return _read_output(completed)


def _read_output(completed: subprocess.CompletedProcess[bytes]) -> LearnedHead:
    """Convert the output of the worker.

    Raises:
        TeachingError: The worker failed.
    """
    if completed.returncode != 0:
        lines = completed.stderr.decode(errors="replace").splitlines() or ["it was killed"]
        raise TeachingError(
            "failed",
            f"Learning failed: {lines[-1][:300]}. Nothing was changed. Try again with fewer "
            "photos.",
        )
    try:
        arrays = read_arrays(completed.stdout, _OUTPUTS, max_bytes=_MAX_OUTPUT_BYTES)
        temperature, none_below, _ = map(float, arrays["numbers"])
    except CORRUPT as error:
        raise TeachingError(
            "failed", f"The learning process returned an unreadable result: {error}. Try again."
        ) from error
    return LearnedHead(
        arrays["head"].tobytes(),
        temperature,
        none_below,
        np.asarray(arrays["probabilities"], np.float64),
        np.asarray(arrays["known_scores"], np.float64),
    )
