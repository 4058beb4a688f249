"""Load one model folder and answer one photo: python -m core.registry.probe FOLDER.

It is run as a process of its own before anything else loads a model from elsewhere: the engine is
known to crash on flatbuffers that were made to crash it. Its memory and time are bounded; that it
ends with 0 says that the model can be used.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.classifier import Classifier

__all__ = ["main", "probe"]

_MEMORY = 4 * 2**30
_SECONDS = 60


def probe(folder: Path) -> None:
    """Load a model, and answer a photo of coloured stripes, one and many at a time.

    Raises:
        BundleError: A file is damaged, or the answer is none.
    """
    bundle = Bundle.open(folder)
    bundle.verify()
    bundle.metrics()
    classifier = Classifier(bundle, threads=1)
    stripes = np.indices((48, 64))[1][..., None] * np.array([3, 5, 7]) % 256
    photo = Image.fromarray(stripes.astype(np.uint8))
    for prediction in classifier.predict_many([photo] * 3, saliency=True):
        if not np.isclose(sum(prediction.scores.values()), 1):
            raise BundleError(
                f"{folder} answers a photo with scores that sum to "
                f"{sum(prediction.scores.values())}, not to 1."
            )


def main() -> None:
    """Run as a program."""
    _limit()
    try:
        probe(Path(sys.argv[1]))
    except BundleError as error:
        sys.exit(str(error))


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  # Windows has none

    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # Where the system knows no such limit, the others must do.
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (bound, bound))


if __name__ == "__main__":
    main()
