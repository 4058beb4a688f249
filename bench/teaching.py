"""Time until a taught model is usable, and the latency of its answers beside its base's."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.figures import ROUNDS, Section, alternate
from bench.photos import Photos
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.teaching import embedding_by
from core.settings import Settings, processors
from core.teaching.base import BASE_MODEL
from core.teaching.collect import Embed, LabelledPhoto
from core.teaching.service import TaughtModel, Teaching, find_teaching_base
from tests.conftest import ROOT

__all__ = ["TeachingLoad", "TeachingSize", "teaching"]

_SIDE = 160


@dataclass(frozen=True)
class TeachingSize:
    """Size of the classifiers that are taught.

    Attributes:
        classes: Number of classes.
        photos: Number of photos of each class.
        rounds: Number of classifiers that are taught.
        target: Target in words.
    """

    classes: int
    photos: int
    rounds: int
    target: str

    def __str__(self) -> str:
        return f"{self.classes} classes of {self.photos} photos"


@dataclass(frozen=True)
class TeachingLoad:
    """Size of a measurement.

    Attributes:
        sizes: What is taught.
        calls: Answers of each model in a round.
        rounds: Number of rounds of answers.
    """

    sizes: tuple[TeachingSize, ...] = (
        TeachingSize(5, 10, ROUNDS, "at most 3"),
        TeachingSize(50, 50, 2, "at most 60, aim 20"),
    )
    calls: int = 10
    rounds: int = 20


def teaching(photos: Photos, folder: Path, load: TeachingLoad | None = None) -> Section:
    """Measure how long teaching takes, and what an answer by a taught model costs.

    Args:
        photos: Photos to classify.
        folder: Folder for the taught models.
        load: What is measured with; None for the default.
    """
    load = load or TeachingLoad()
    rounds = ", ".join(f"{size.rounds} with {size}" for size in load.sizes)
    section = Section(
        "Teaching",
        f"Classifiers taught on `{BASE_MODEL}` with drawn textures, in this process as in that of "
        "page or bot. The first values are the time from the moment that the last photo is "
        "embedded until the new model has answered a photo: starting the worker process, learning "
        "in it, evaluating, installing, loading and that answer are included; medians of "
        f"{rounds}. Then the models answer a photo of 200 kB in turn: medians of {load.rounds} "
        f"alternating rounds of {load.calls} answers each.",
    )
    settings = Settings(models=ROOT / "models", home=folder / "teaching")
    pool = PhotoPool(PhotoLimits(), workers=processors())
    # A busy machine must not end the measurement.
    predictor = LocalPredictor(Catalog(settings), queue_size=64, deadline_s=600, photos=pool)
    photo = photos.typical.read_bytes()
    with closing(predictor), asyncio.Runner() as runner:

        def answer(model: str) -> None:
            runner.run(predictor.predict(photo, model=model))

        base = find_teaching_base(settings)
        embed = _embed_once(embedding_by(predictor, base))
        teacher = Teaching(settings, base, embed, pool, b"key of the hashes")
        models = {
            str(size): _measure_teaching(section, teacher, size, answer) for size in load.sizes
        }
        durations = alternate(
            {
                name: partial(answer, model)
                for name, model in {"base": BASE_MODEL, **models}.items()
            },
            calls=load.calls,
            rounds=load.rounds,
        )
    for name, seconds in durations.items():
        section.add(f"an answer, {name}", 1000 * seconds, "ms")
    for name in models:
        difference = 1000 * (durations[name] - durations["base"])
        section.add(f"an answer, {name}: more than the base's", difference, "ms", "at most 0.5")
    return section


def _measure_teaching(
    section: Section, teacher: Teaching, size: TeachingSize, answer: Callable[[str], None]
) -> str:
    """Teach classifiers of one size, add the time that it takes, and return the id of the last.

    Args:
        section: Receives the results.
        teacher: Teaches.
        size: What is taught.
        answer: Lets the model of an id answer a photo.
    """
    photos = [
        LabelledPhoto(f"texture {kind}", _texture(kind, number), f"{kind} {number}")
        for kind in range(size.classes)
        for number in range(size.photos)
    ]
    durations = []
    for number in range(size.rounds):
        model, seconds = _teach(teacher, f"owner {number} of {size}", photos, answer)
        durations.append(seconds)
    section.add(f"until usable, {size}", statistics.median(durations), "s", size.target)
    section.note(f"Cross-validated accuracy, {size}: {model.report.accuracy.share:.3f}.")
    return model.bundle.config.name


def _teach(
    teacher: Teaching, owner: str, photos: Sequence[LabelledPhoto], answer: Callable[[str], None]
) -> tuple[TaughtModel, float]:
    """Teach a private model; return it, and the seconds from the last embedding to an answer."""
    embedded = time.perf_counter()

    def note_time(done: int, total: int) -> None:
        nonlocal embedded
        if done == total:
            embedded = time.perf_counter()

    model = teacher.create(owner, "Textures", photos, progress=note_time)
    answer(model.bundle.config.name)
    return model, time.perf_counter() - embedded


def _embed_once(embed: Embed) -> Embed:
    """Keep the embeddings of each photo, so that later rounds do not compute them again."""
    known: dict[bytes, NDArray[np.float32]] = {}

    def look_up(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        key = hashlib.sha256(images[0].tobytes()).digest()
        if key not in known:
            known[key] = embed(images)
        return known[key]

    return look_up


def _texture(kind: int, number: int) -> bytes:
    """Draw stripes as JPEG: their colours, direction and width vary within each kind.

    Args:
        kind: Index of the class.
        number: Index of the photo in its class.
    """
    typical, rng = np.random.default_rng(kind), np.random.default_rng((kind, number))
    colors = typical.uniform(40, 216, (2, 3)) + rng.normal(0, 20, (2, 3))
    angle = typical.uniform(0, np.pi) + rng.normal(0, 0.1)
    waves = typical.uniform(3, 20) * rng.uniform(0.8, 1.25)
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    phase = waves * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform()
    share = (np.sin(2 * np.pi * phase)[..., None] + 1) / 2
    noise = rng.normal(0, 20, (_SIDE, _SIDE, 3))
    pixels = share * colors[0] + (1 - share) * colors[1] + noise
    buffer = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
