"""The classifier: a photo in, a `Prediction` out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.config import MODEL, Config, View
from core.bundle.folder import Bundle
from core.inference.calibration import calibrated
from core.inference.engine import Engine, Outputs
from core.inference.known_score import Arrays, known_scores, read_arrays
from core.inference.prediction import Prediction, Timing
from core.photos.decode import Photo, decode
from core.photos.prepare import Preparation, decoded_side
from core.photos.preprocess import crops, normalise

__all__ = ["MAX_BATCH", "Classifier", "Seen", "name_of"]

MAX_BATCH = 32
_MIN_CELLS = 5


@dataclass(frozen=True)
class Seen:
    """A photo as a model takes it.

    Attributes:
        photo: Its path, where it has one.
        crops: As `preprocess.crops` gives them: shape (c, height, width, 3), uint8.
        decode_ms: Milliseconds that took.
    """

    photo: str | None
    crops: NDArray[np.uint8]
    decode_ms: float


class Classifier:
    """A model ready to answer. Safe to share between threads.

    Args:
        bundle: The model folder.
        threads: Threads that one inference may use.

    Raises:
        BundleError: A file of the bundle is missing, changed or not usable.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        config = bundle.config
        self._bundle = bundle
        self._engine = Engine(
            bundle.read(MODEL),
            shape=(config.input.height, config.input.width),
            classes=len(config.labels),
            threads=threads,
        )
        self._arrays = read_arrays(bundle, self._engine.features)

    @property
    def config(self) -> Config:
        """The bundle's config.json."""
        return self._bundle.config

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    @property
    def revision(self) -> str:
        """Which version of the model this is."""
        return self._bundle.revision

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each class, in the order of the logits."""
        return self.config.labels

    @property
    def arrays(self) -> Arrays:
        """What its way to tell known_score needs, see `known_score.ARRAYS`."""
        return self._arrays

    def predict(self, photo: Photo, *, saliency: bool = False) -> Prediction:
        """Classify one photo.

        Args:
            photo: Bytes of a file, a path, or a PIL image.
            saliency: Also tell what in the photo spoke for the answer.

        Raises:
            ImageError: The photo cannot be decoded or is outside the limits.
            PhotoReadError: The path cannot be read.
        """
        return self.predict_many([photo], saliency=saliency)[0]

    def predict_many(self, photos: Sequence[Photo], *, saliency: bool = False) -> list[Prediction]:
        """Classify photos; the same numbers as one by one, in the same order, in less time.

        Raises:
            ImageError, PhotoReadError: As in `predict`, for the first photo that fails.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(photos), MAX_BATCH):
            seen = [self.see(photo) for photo in photos[start : start + MAX_BATCH]]
            predictions += self.answer(seen, saliency=[saliency] * len(seen))
        return predictions

    def see(self, photo: Photo) -> Seen:
        """Decode a photo and bring it to what the model takes: the first half of `predict`.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        started = time.perf_counter()
        windows = crops(self.decode(photo), self.config.input)
        return Seen(name_of(photo), windows, _milliseconds_since(started))

    def preparation(self, *, preview: int | None = None) -> Preparation:
        """Return what `see` makes of a photo, for another process to make.

        Args:
            preview: Pixels of the longer side of a preview that is wanted too.
        """
        return Preparation(self.config.input, preview)

    def answer(self, seen: Sequence[Seen], *, saliency: Sequence[bool]) -> list[Prediction]:
        """Run the model: the second half of `predict`.

        Args:
            seen: At most `MAX_BATCH`, as this classifier's `see` gave them.
            saliency: For each, whether to tell what spoke for the answer.
        """
        if not seen:
            return []
        started = time.perf_counter()
        outputs = self.outputs_of_crops([each.crops for each in seen])
        known = self._known_scores(outputs)
        explained = [i for i, wanted in enumerate(saliency) if wanted]
        maps: dict[int, NDArray[np.float32]] = {}
        if explained:
            # Of several crops the middle one's.
            middle = np.stack([seen[i].crops[len(seen[i].crops) // 2] for i in explained])
            maps = dict(zip(explained, self.maps(middle), strict=True))
        infer = _milliseconds_since(started) / len(seen)
        return [
            self._prediction(
                each.photo,
                outputs.logits[i],
                float(known[i]),
                maps.get(i),
                Timing(each.decode_ms, infer),
            )
            for i, each in enumerate(seen)
        ]

    def decode(self, photo: Photo) -> NDArray[np.uint8]:
        """RGB pixels of a photo, large enough for this model: shape (h, w, 3), uint8.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        return decode(photo, min_side=decoded_side(self.config.input))

    def outputs(self, seen: NDArray[np.uint8]) -> Outputs:
        """Run the model on images of its input size; all views, averaged.

        Args:
            seen: Shape (n, height, width, 3), uint8, RGB, as `preprocess.resize` gives them.
        """
        parts = [self._engine.run(batch) for batch in self._batches(seen)]
        return Outputs(
            np.concatenate([self._by_view(part.logits).mean(axis=0) for part in parts]),
            np.concatenate([self._by_view(part.embedding).mean(axis=0) for part in parts]),
        )

    def outputs_of_crops(self, seen: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Run the model on photos, each as what `preprocess.crops` gives; all crops, averaged.

        Args:
            seen: One array a photo, of shape (c, height, width, 3), uint8, RGB.
        """
        outputs = self.outputs(np.concatenate(seen))
        counts = [len(crops) for crops in seen]
        if set(counts) == {1}:
            return outputs
        starts = np.cumsum([0, *counts[:-1]])
        divisors = np.asarray(counts, np.float32)[:, None]

        def means(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(np.add.reduceat(values, starts) / divisors, np.float32)

        return Outputs(means(outputs.logits), means(outputs.embedding))

    def maps(self, seen: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Evidence for each class at each place of images; all views, averaged.

        Args:
            seen: As for `outputs`.

        Returns:
            Shape (n, h, w, k), float32, of fewer cells than the image has pixels.
        """
        views = self.config.views
        found = []
        # One at a time: some models take a hundred megabytes for each, and the engine would keep
        # what it once took for many.
        for image in seen:
            (batch,) = self._batches(image[None])
            part = self._by_view(self._engine.explain(batch))
            found.append(
                np.mean([_unmirrored(m, view) for m, view in zip(part, views, strict=True)], axis=0)
            )
        return np.concatenate(found)

    def _known_scores(self, outputs: Outputs) -> NDArray[np.float64]:
        config = self.config
        return known_scores(config.verdict.method, outputs, config, self._arrays)

    def _batches(self, seen: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Normalised images, some at a time: all in their first view, then in the next."""
        for start in range(0, len(seen), MAX_BATCH):
            normal = normalise(seen[start : start + MAX_BATCH], self.config.input)
            yield np.concatenate([_view(normal, view) for view in self.config.views])

    def _by_view(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(v · n, ...) -> (v, n, ...)."""
        return values.reshape(len(self.config.views), -1, *values.shape[1:])

    def _prediction(
        self,
        photo: str | None,
        logits: NDArray[np.float32],
        known_score: float,
        maps: NDArray[np.float32] | None,
        timing: Timing,
    ) -> Prediction:
        config = self.config
        scores = calibrated(logits, config)
        order = np.argsort(-scores, kind="stable")
        best = int(order[0])
        confidence = float(scores[best])
        verdict: Literal["known", "unsure", "none"] = "known"
        if known_score < config.verdict.none_below:
            verdict = "none"
        elif confidence < config.verdict.unsure_below:
            verdict = "unsure"
        return Prediction(
            photo=photo,
            model=self.name,
            revision=self.revision,
            label=self.labels[best],
            confidence=confidence,
            verdict=verdict,
            known_score=known_score,
            scores={self.labels[j]: float(scores[j]) for j in order},
            timing_ms=timing,
            saliency=None if maps is None else self._saliency(maps, best),
        )

    def _saliency(self, maps: NDArray[np.float32], label: int) -> NDArray[np.float32] | None:
        """From the evidence for each class at each place, shape (h, w, k).

        What speaks for the label counts by how much the evidence differs from that at the edges of
        the photo: plain ground gives a little everywhere, and would outweigh a small thing on it.
        """
        if min(maps.shape[:2]) < _MIN_CELLS:
            return None
        support = np.maximum(maps[:, :, label], 0)
        edges = np.concatenate([maps[0], maps[-1], maps[1:-1, 0], maps[1:-1, -1]])
        unlike = ((maps - np.median(edges, axis=0)) ** 2).sum(axis=2)
        if (support * unlike).any():
            support = support * unlike
        support = support / max(float(support.max()), 1e-12)
        size = (self.config.input.width, self.config.input.height)
        scaled = Image.fromarray(support).resize(size, Image.Resampling.BILINEAR)
        return np.clip(np.asarray(scaled, np.float32), 0, 1)


def name_of(photo: Photo) -> str | None:
    """Return the path of a photo, where it has one."""
    return os.fspath(photo) if isinstance(photo, str | os.PathLike) else None


def _view(normal: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """One view of images, shape (n, h, w, 3)."""
    if view.startswith("mirror"):
        normal = normal[:, :, ::-1]
    if view.endswith("up_left"):
        return np.pad(normal[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)), mode="reflect")
    if view.endswith("down_right"):
        return np.pad(normal[:, :-1, :-1], ((0, 0), (1, 0), (1, 0), (0, 0)), mode="reflect")
    return normal


def _unmirrored(maps: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Maps of a view, put back to the image; a pixel is much less than one of their cells."""
    return maps[:, :, ::-1] if view.startswith("mirror") else maps


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
