"""What a model is worth, measured on its stored weights through `core.Classifier`."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from core.bundle.folder import Bundle
from core.bundle.metrics import (
    ClassMetrics,
    ConfidenceMetrics,
    Misclassification,
    ResizeMetrics,
    SplitMetrics,
)
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.photos.preprocess import ResizeRule, crops
from core.training.data.datasets import Split
from core.training.evaluation.calibrate import ece, log_loss, reliability
from core.training.evaluation.ood import run_inference

__all__ = [
    "choose_resizing",
    "compare_resizing",
    "compare_resizing_of",
    "confidence_metrics",
    "evaluate_split",
    "milliseconds",
]

_TIMED_RUNS = 300
_MISTAKES = 20
_WORTH = 0.01


def evaluate_split(
    classifier: Classifier, split: Split, data: str, hub: str | None = None
) -> SplitMetrics:
    """Answer every row and compare.

    Args:
        classifier: The model.
        split: Rows; their labels are indices of the classifier's labels.
        data: What the rows are, for people.
        hub: Name of their data set on the Hub.
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
    sure = np.asarray([p.confidence for p in predictions])
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:_MISTAKES]
    return SplitMetrics(
        data=data,
        hub=hub,
        n=len(split),
        accuracy=float(right.mean()),
        precision=float(mean_precision),
        recall=float(mean_recall),
        f1=float(mean_f1),
        log_loss=log_loss(probabilities, split.labels),
        ece=ece(bins),
        classes=tuple(
            ClassMetrics(
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
        mistakes=tuple(
            Misclassification(
                row=int(split.rows[i]),
                label=labels[split.labels[i]],
                answer=labels[answers[i]],
                confidence=sure[i],
            )
            for i in worst
        ),
    )


def confidence_metrics(classifier: Classifier, split: Split, data: str) -> ConfidenceMetrics:
    """How sure a model is on rows, and how right.

    Args:
        classifier: The model.
        split: Rows; their labels are indices of the classifier's labels.
        data: What the rows are, for people.
    """
    logits = run_inference(classifier, split.images, data).outputs.logits
    sure = confidences(logits, classifier.config)
    right = logits.argmax(axis=1) == split.labels
    return ConfidenceMetrics(
        data=data,
        n=len(split),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        ece=ece(reliability(sure, right)),
    )


def compare_resizing(bundle: Bundle, photos: Split, data: str, *, threads: int) -> ResizeMetrics:
    """Answer photos by each resize rule.

    Args:
        bundle: The model.
        photos: Square images with its labels. Every other one is cut to 4:3, the rest to 3:4, as
            most cameras give them.
        data: What the photos are, for people.
        threads: Threads that one inference may use.
    """
    height = photos.images.shape[1]
    cut = height // 8
    windows = [
        image[cut : height - cut] if i % 2 == 0 else image[:, cut : height - cut]
        for i, image in enumerate(photos.images)
    ]
    return compare_resizing_of(bundle, windows, photos.labels, data, threads=threads)


def compare_resizing_of(
    bundle: Bundle,
    images: Sequence[NDArray[np.uint8]],
    truth: NDArray[np.int64],
    data: str,
    *,
    threads: int,
) -> ResizeMetrics:
    """Answer images of any aspect by each resize rule.

    Args:
        bundle: The model.
        images: n arrays of shape (h, w, 3), uint8.
        truth: Indices of the model's labels, shape (n,).
        data: What the images are, for people.
        threads: Threads that one inference may use.
    """
    labels = [bundle.config.labels[label] for label in truth]
    accuracy: dict[ResizeRule, float] = {}
    for rule in get_args(ResizeRule):
        spec = bundle.config.input.model_copy(update={"resize": rule})
        config = bundle.config.model_copy(update={"input": spec})
        classifier = Classifier(replace(bundle, config=config), threads=threads)
        answers = classifier.predict_many(list(map(Image.fromarray, images)))
        right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
        accuracy[rule] = float(np.mean(right))
    return ResizeMetrics(data=data, n=len(truth), accuracy=accuracy)


def choose_resizing(figures: ResizeMetrics) -> ResizeRule:
    """The rule that is right most often; `three_crops` only where it gains a hundredth.

    It costs three times as much as the others.
    """
    worth = {
        rule: share - (_WORTH if rule == "three_crops" else 0)
        for rule, share in figures.accuracy.items()
    }
    return max(worth, key=worth.__getitem__)


def milliseconds(classifier: Classifier) -> float:
    """Median time of one photo of 4:3 at batch 1, all crops and views, without decoding."""
    spec = classifier.config.input
    shape = (3 * spec.height, 4 * spec.width, 3)
    image = crops(np.random.default_rng(0).integers(0, 256, shape, np.uint8), spec)
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        classifier.outputs(image)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def _figures(
    truth: NDArray[np.int64], answers: NDArray[np.int64], classes: int, average: str | None
) -> tuple[NDArray[np.float64], ...]:
    figures: tuple[NDArray[np.float64], ...] = precision_recall_fscore_support(
        truth, answers, labels=np.arange(classes), average=average, zero_division=0
    )
    return figures
