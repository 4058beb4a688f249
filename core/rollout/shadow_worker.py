"""Answer copies of photos with a candidate: `python -m core.rollout.shadow_worker FOLDER [BASE]`.

BASE is the folder of the model that a taught candidate is based on. The worker runs in a process of
its own, at the lowest priority and with a limit on memory, since a candidate may hang or crash.
Photos are read from standard input and answers written to standard output, see
`core.messages`. The process ends when its standard input is closed.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from core.bundle.folder import Bundle
from core.errors import TenSightError
from core.inference.backbone import Backbone
from core.inference.classifier import Classifier
from core.messages import read_message, write_message
from core.photos.decode import MAX_BYTES, configure_pillow_limits
from core.store.rollout_evidence import AnswerSummary
from core.system import become_background_worker

__all__ = ["main"]

_MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer photos until standard input is closed."""
    become_background_worker(_MEMORY_BYTES)
    configure_pillow_limits()
    bundle, *base = (Bundle.open(Path(folder)) for folder in sys.argv[1:])
    backbone = Backbone.load(base[0], threads=1) if base else None
    classifier = Classifier(bundle, threads=1, backbone=backbone)
    write_message(sys.stdout.buffer, {"ready": classifier.revision})
    while True:
        try:
            _, photo = read_message(sys.stdin.buffer, max_bytes=MAX_BYTES)
        except EOFError:
            return
        write_message(sys.stdout.buffer, _answer(classifier, photo))


def _answer(classifier: Classifier, photo: bytes) -> dict[str, object]:
    try:
        prediction = classifier.predict(photo)
    except TenSightError as error:
        return {"error": str(error)}
    return asdict(
        AnswerSummary(
            prediction.label,
            prediction.verdict,
            prediction.confidence,
            prediction.known_score,
            prediction.timing_ms.infer,
        )
    )


if __name__ == "__main__":
    main()
