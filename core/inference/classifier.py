"""Image classification: from a photo to a `Prediction`."""

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
from core.inference.known_score import OodParams, known_scores, read_ood_params
from core.inference.prediction import Prediction, Timing
from core.photos.decode import Photo, decode
from core.photos.prepare import Preparation, decoded_side
from core.photos.preprocess import crops, normalise

__all__ = ["MAX_BATCH", "Classifier", "PreprocessedPhoto", "name_of"]

MAX_BATCH = 32
_MIN_CELLS = 5


@dataclass(frozen=True)
class PreprocessedPhoto:
    """A decoded photo, resized and cropped to a model's input size.

    Attributes:
        photo: Path of the photo; None for bytes and PIL images.
        crops: Output of `preprocess.crops`: shape (c, height, width, 3), uint8, RGB.
        decode_ms: Duration of decoding and resizing, in milliseconds.
    """

    photo: str | None
    crops: NDArray[np.uint8]
    decode_ms: float


class Classifier:
    """An image classifier. Instances are thread-safe.

    Args:
        bundle: The model folder to load.
        threads: Number of threads for one inference.

    Raises:
        BundleError: A file of the bundle is missing, corrupt or not usable.
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
        self._arrays = read_ood_params(bundle, self._engine.features)

    @property
    def config(self) -> Config:
        """Configuration of the bundle."""
        return self._bundle.config

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    @property
    def revision(self) -> str:
        """Revision of the bundle, 12 hex digits."""
        return self._bundle.revision

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each class, in the order of the logits."""
        return self.config.labels

    @property
    def ood_params(self) -> OodParams:
        """Parameters of the model's known_score method, see `known_score.ARRAYS`."""
        return self._arrays

    def predict(self, photo: Photo, *, saliency: bool = False) -> Prediction:
        """Classify one photo.

        Args:
            photo: Content of an image file as bytes, a path, or a PIL image.
            saliency: Whether to compute a saliency map for the predicted label.

        Raises:
            ImageError: The photo cannot be decoded or exceeds the limits.
            PhotoReadError: The path cannot be read.
        """
        return self.predict_many([photo], saliency=saliency)[0]

    def predict_many(self, photos: Sequence[Photo], *, saliency: bool = False) -> list[Prediction]:
        """Classify photos in batches of `MAX_BATCH`.

        Args:
            photos: As for `predict`.
            saliency: Whether to compute saliency maps.

        Returns:
            One prediction for each photo, in the order of `photos`.

        Raises:
            ImageError, PhotoReadError: As in `predict`, for the first photo that fails.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(photos), MAX_BATCH):
            seen = [self.preprocess(photo) for photo in photos[start : start + MAX_BATCH]]
            predictions += self.infer(seen, saliency=[saliency] * len(seen))
        return predictions

    def preprocess(self, photo: Photo) -> PreprocessedPhoto:
        """Decode a photo and resize it to the model's input size: the first half of `predict`.

        Args:
            photo: As for `predict`.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        started = time.perf_counter()
        windows = crops(self.decode(photo), self.config.input)
        return PreprocessedPhoto(name_of(photo), windows, _milliseconds_since(started))

    def preparation(self, *, preview: int | None = None) -> Preparation:
        """Return the parameters with which another process can do the work of `see`.

        Args:
            preview: Longer side in pixels of a preview to render as well; None for none.
        """
        return Preparation(self.config.input, preview)

    def infer(
        self, seen: Sequence[PreprocessedPhoto], *, saliency: Sequence[bool]
    ) -> list[Prediction]:
        """Run the model on preprocessed photos: the second half of `predict`.

        Args:
            seen: At most `MAX_BATCH` outputs of this classifier's `see`.
            saliency: For each of them, whether to compute a saliency map.
        """
        if not seen:
            return []
        started = time.perf_counter()
        outputs = self.outputs_of_crops([each.crops for each in seen])
        known = self._known_scores(outputs)
        explained = [i for i, wanted in enumerate(saliency) if wanted]
        maps: dict[int, NDArray[np.float32]] = {}
        if explained:
            # With several crops, the saliency map is that of the middle crop.
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
        """Decode a photo at a scale that suffices for this model.

        Returns:
            Array of shape (h, w, 3), uint8, RGB.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        return decode(photo, min_side=decoded_side(self.config.input))

    def outputs(self, seen: NDArray[np.uint8]) -> Outputs:
        """Run the model on images of its input size and average over all views.

        Args:
            seen: Array of shape (n, height, width, 3), uint8, RGB: outputs of `preprocess.resize`.

        Returns:
            Mean logits and embeddings of the n images.
        """
        parts = [self._engine.run(batch) for batch in self._batches(seen)]
        return Outputs(
            np.concatenate([self._by_view(part.logits).mean(axis=0) for part in parts]),
            np.concatenate([self._by_view(part.embedding).mean(axis=0) for part in parts]),
        )

    def outputs_of_crops(self, seen: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Run the model on the crops of photos and average over crops and views.

        Args:
            seen: One array for each photo, the output of `crops`: shape (c, height, width, 3),
                uint8, RGB; c may differ.

        Returns:
            Mean logits and embeddings, one row for each photo.
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
        """Compute class evidence maps, averaged over all views.

        Args:
            seen: As for `outputs`; n at least 1.

        Returns:
            Array of shape (n, h, w, k), float32, where h × w is the model's map resolution, lower
            than that of the image.
        """
        views = self.config.views
        found = []
        # One image at a time: some models allocate 100 MB for each, and the engine keeps the memory
        # of its largest batch.
        for image in seen:
            (batch,) = self._batches(image[None])
            part = self._by_view(self._engine.explain(batch))
            found.append(
                np.mean([_unmirrored(m, view) for m, view in zip(part, views, strict=True)], axis=0)
            )
        return np.concatenate(found)

    def saliency(self, seen: NDArray[np.uint8], label: int) -> NDArray[np.float32] | None:
        """Compute the saliency map of one image for any label.

        Args:
            seen: Array of the model's input size, shape (height, width, 3), uint8, RGB.
            label: Index of the label.

        Returns:
            As `Prediction.saliency`.
        """
        return self._saliency(self.maps(seen[None])[0], label)

    def _known_scores(self, outputs: Outputs) -> NDArray[np.float64]:
        config = self.config
        return known_scores(config.verdict.method, outputs, config, self._arrays)

    def _batches(self, seen: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Yield normalised batches, ordered by view first and image second."""
        for start in range(0, len(seen), MAX_BATCH):
            normal = normalise(seen[start : start + MAX_BATCH], self.config.input)
            yield np.concatenate([_view(normal, view) for view in self.config.views])

    def _by_view(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Split the views from the batch axis: (v · n, ...) to (v, n, ...)."""
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
        """Compute a saliency map from class evidence maps.

        Positive evidence for the label is weighted by the squared distance of a cell's evidence
        from the median along the border of the image. Without the weights, the weak evidence of a
        large uniform background would outweigh a small object.

        Args:
            maps: Evidence maps of one image, shape (h, w, k), float32.
            label: Index of the label.

        Returns:
            Array of the model's input size, float32, 0 to 1; None for maps of less than 5 × 5
            cells, which are too coarse.
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
    """Return the path of a photo; None for bytes and PIL images."""
    return os.fspath(photo) if isinstance(photo, str | os.PathLike) else None


def _view(normal: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Apply one view, a test-time augmentation, to normalised images of shape (n, h, w, 3)."""
    if view.startswith("mirror"):
        normal = normal[:, :, ::-1]
    if view.endswith("up_left"):
        return np.pad(normal[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)), mode="reflect")
    if view.endswith("down_right"):
        return np.pad(normal[:, :-1, :-1], ((0, 0), (1, 0), (1, 0), (0, 0)), mode="reflect")
    return normal


def _unmirrored(maps: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Undo the mirroring of a view's maps.

    Shifts are not undone: one pixel is much smaller than a cell of the maps.
    """
    return maps[:, :, ::-1] if view.startswith("mirror") else maps


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
