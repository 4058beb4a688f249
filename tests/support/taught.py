"""Taught models with random heads, for tests of what happens to a model once it is taught."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from core.bundle.card import card
from core.bundle.config import CARD, HEAD, METRICS, MODEL, SPACE, Base, Config, VerdictConfig
from core.bundle.folder import Bundle, write_bundle
from core.bundle.metrics import ProportionEstimate, TaughtMetrics
from core.inference.backbone import Backbone
from core.inference.head import EmbeddingSpace, Head, write_head, write_space
from core.teaching.base import TeachingBase
from core.teaching.collect import LabelledPhoto
from core.teaching.learner import teach_head
from core.teaching.learning import LearnedHead
from core.teaching.space import fit_space
from core.teaching.stored_examples import StoredExamples
from tests.conftest import ROOT
from tests.support.drawings import shape_jpeg

__all__ = [
    "drawn_shapes",
    "learn_here",
    "random_head",
    "random_space",
    "teachable",
    "write_taught",
]

LABELS = ("circle", "square")


def drawn_shapes() -> list[LabelledPhoto]:
    """Return four photos each of circles and squares, to teach with."""
    return [
        LabelledPhoto(name, shape_jpeg(name, seed), f"{name} {seed}")
        for name in LABELS
        for seed in range(4)
    ]


def learn_here(examples: StoredExamples, space: EmbeddingSpace) -> LearnedHead:
    """Learn a head as the worker does, in this process."""
    taught = teach_head(examples.to_examples(), space)
    return LearnedHead(
        write_head(taught.head),
        taught.temperature,
        taught.none_below,
        taught.probabilities,
        taught.known_scores,
    )


def teachable(models: Path) -> TeachingBase:
    """Copy `classic`, which is small and fast, to a models folder, as a model to teach on."""
    folder = models / "classic"
    shutil.copytree(ROOT / "models" / "classic", folder)
    bundle = Bundle.open(folder)
    features = Backbone.load(bundle, threads=1).engine.features
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(60, features)).astype(np.float32)
    kinds = np.asarray([f"kind {i % 12}" for i in range(60)])
    files = {name: bundle.read(name) for name in bundle.config.sha256}
    files[SPACE] = write_space(fit_space(spread, kinds, rank=8))
    return TeachingBase(write_bundle(folder, bundle.config, files))


def random_space(features: int, rank: int = 4) -> EmbeddingSpace:
    """Return a projection with random parameters."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(features, rank)))
    return EmbeddingSpace(
        rng.normal(size=features).astype(np.float32),
        rng.uniform(0.5, 2, features).astype(np.float32),
        axes.astype(np.float16).astype(np.float32),
        rng.uniform(0.1, 1, rank).astype(np.float32),
    )


def random_head(features: int, classes: int, seed: int = 0) -> Head:
    """Return a head with random weights."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(classes, features))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    return Head(
        random_space(features),
        rng.normal(size=(features, classes)).astype(np.float32),
        rng.normal(size=classes).astype(np.float32),
        centers.astype(np.float32),
    )


def write_taught(folder: Path, base: Bundle, *, seed: int = 0, none_below: float = -1.0) -> Bundle:
    """Write a taught model with a random head; its figures are invented.

    Args:
        folder: Target path.
        base: The base.
        seed: Of the head.
        none_below: Threshold of the verdict.
    """
    features = Backbone.load(base, threads=1).engine.features
    head = write_head(random_head(features, len(LABELS), seed))
    config = base.config.model_dump() | {
        "schema_version": 2,
        "name": folder.name,
        "title": "Circles and squares",
        "description": "Tells circles from squares.",
        "family": "taught",
        "labels": LABELS,
        "temperature": 1.0,
        "exponent": 1.0,
        "beta": (1.0, 1.0, 0.0),
        "verdict": VerdictConfig(method="center", none_below=none_below, unsure_below=0.5),
        "base": Base(name=base.config.name, sha256=base.config.sha256[MODEL]),
        "sha256": {HEAD: hashlib.sha256(head).hexdigest()},
    }
    valid = Config.model_validate(config)
    before = base.metrics()
    few = before.test.model_copy(
        update={
            "n": 6,
            "classes": tuple(
                each.model_copy(update={"label": label})
                for each, label in zip(before.test.classes, LABELS, strict=False)
            ),
            "confusion": ((3, 0), (0, 3)),
        }
    )
    taught = TaughtMetrics(
        photos=(3, 3),
        views=1,
        accuracy=ProportionEstimate.of(6, 6),
        none=ProportionEstimate.of(0, 6),
        doubtful=1,
        weak=("square",),
    )
    metrics = before.model_copy(update={"test": few, "validation": few, "taught": taught})
    files = {
        HEAD: head,
        METRICS: metrics.model_dump_json().encode(),
        CARD: card(valid, metrics).encode(),
    }
    return write_bundle(folder, valid, files)
