"""Smoke test of an untrusted model folder: `python -m core.registry.probe FOLDER [BASE]`.

It runs in a subprocess before any other process loads a downloaded model, because crafted
flatbuffers can crash the inference engine. Memory and CPU time are limited. The exit status is 0 if
the model can be used; otherwise the reason is the last line of stderr.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.system import lower_limit

__all__ = ["check_scores", "main", "probe", "probe_photo"]

_MEMORY = 4 * 2**30
_SECONDS = 60


def probe(folder: Path, base: Path | None = None) -> None:
    """Verify and load a model, and classify a batch of three synthetic images with saliency.

    Args:
        folder: The model folder.
        base: That of its base; None for a model without one.

    Raises:
        BundleError: A file is missing, corrupt or invalid, or the scores do not sum to 1.
    """
    bundle = Bundle.open(folder)
    bundle.verify()
    bundle.metrics()
    backbone = None if base is None else Backbone.load(Bundle.open(base), threads=1)
    classifier = Classifier(bundle, threads=1, backbone=backbone)
    for prediction in classifier.predict_many([probe_photo()] * 3, saliency=True):
        check_scores(prediction, str(folder))


def probe_photo() -> Image.Image:
    """Return the synthetic image that models and running replicas are tested with."""
    stripes = np.indices((48, 64))[1][..., None] * np.array([3, 5, 7]) % 256
    return Image.fromarray(stripes.astype(np.uint8))


def check_scores(prediction: Prediction, what: str) -> None:
    """Check that the scores of a prediction are probabilities.

    Args:
        prediction: The prediction.
        what: What made it, as the beginning of a sentence.

    Raises:
        BundleError: The scores do not sum to 1.
    """
    total = sum(prediction.scores.values())
    if not np.isclose(total, 1):
        raise BundleError(
            f"{what} returns scores that sum to {total} instead of 1. Export the model again."
        )


def main() -> None:
    """Run the probe on the folders named by the arguments."""
    _limit()
    try:
        probe(*map(Path, sys.argv[1:3]))
    except BundleError as error:
        sys.exit(str(error))


def _limit() -> None:
    # Some systems lack one of these limits, or all of them; the others still apply.
    with suppress(ValueError, OSError):
        lower_limit("RLIMIT_AS", _MEMORY)
    with suppress(ValueError, OSError):
        lower_limit("RLIMIT_CPU", _SECONDS)
    with suppress(ValueError, OSError):
        lower_limit("RLIMIT_CORE", 0)


if __name__ == "__main__":
    main()
