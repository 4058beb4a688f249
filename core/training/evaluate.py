"""What a model is worth, measured on its stored weights through `core.Classifier`."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from core.bundle import ClassFigures, Origin, SplitFigures
from core.classifier import Classifier
from core.training.calibrate import ece, log_loss, reliability
from core.training.data import Split

__all__ = ["commit", "evaluate_split", "hardware", "milliseconds", "origin"]

_TIMED_RUNS = 300
_VERSIONED = ("tensight", "ai-edge-litert", "keras", "numpy", "pillow", "tensorflow")


def evaluate_split(classifier: Classifier, split: Split, data: str) -> SplitFigures:
    """Answer every row and compare.

    Args:
        classifier: The model.
        split: Rows; their labels are indices of the classifier's labels.
        data: What the rows are, for people.
    """
    photos = [Image.fromarray(image) for image in split.images]
    predictions = classifier.predict_many(photos)
    labels = classifier.labels
    index = {label: i for i, label in enumerate(labels)}
    answers = np.asarray([index[p.label] for p in predictions])
    probabilities = np.asarray([[p.scores[label] for label in labels] for p in predictions])
    right = answers == split.labels
    bins = reliability(probabilities.max(axis=1), right)
    each = _figures(split.labels, answers, len(labels), None)
    mean_precision, mean_recall, mean_f1, _ = _figures(split.labels, answers, len(labels), "macro")
    confusion = confusion_matrix(split.labels, answers, labels=np.arange(len(labels)))
    verdicts = Counter(p.verdict for p in predictions)
    return SplitFigures(
        data=data,
        n=len(split),
        accuracy=float(right.mean()),
        precision=float(mean_precision),
        recall=float(mean_recall),
        f1=float(mean_f1),
        # Logs of calibrated probabilities are logits at temperature 1, up to a constant.
        log_loss=log_loss(np.log(np.maximum(probabilities, 1e-300)), split.labels, 1.0),
        ece=ece(bins),
        classes=tuple(
            ClassFigures(
                label=label, precision=float(p), recall=float(r), f1=float(f), support=int(n)
            )
            for label, p, r, f, n in zip(labels, *each, strict=True)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        reliability=bins,
        verdicts={
            "known": verdicts["known"],
            "unsure": verdicts["unsure"],
            "none": verdicts["none"],
        },
    )


def milliseconds(classifier: Classifier) -> float:
    """Median time of one image at batch 1, all views, without decoding."""
    spec = classifier.config.input
    image = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        classifier.outputs(image)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def origin(command: str) -> Origin:
    """Where, when and with what figures are being made."""
    return Origin(
        command=command,
        hardware=hardware(),
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in _VERSIONED},
    )


def hardware() -> str:
    """Processor, and how many of them this process may use."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} × {model}"


def commit() -> str:
    """The checkout's commit, with a plus sign where files differ from it; `unknown` outside one."""

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _figures(
    truth: NDArray[np.int64], answers: NDArray[np.int64], classes: int, average: str | None
) -> tuple[NDArray[np.float64], ...]:
    figures: tuple[NDArray[np.float64], ...] = precision_recall_fscore_support(
        truth, answers, labels=np.arange(classes), average=average, zero_division=0
    )
    return figures
