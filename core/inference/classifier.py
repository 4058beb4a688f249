"""Classify photos: decode, run the model, calibrate and decide on the verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import HEAD, MODEL, Config
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.answer import make_prediction
from core.inference.backbone import Backbone
from core.inference.embedding import Embedding
from core.inference.engine import Outputs
from core.inference.evidence import Evidence
from core.inference.head import Head, read_head
from core.inference.known_score import OodParams, known_scores, read_ood_params
from core.inference.multi_view import MAX_BATCH, MultiViewEngine
from core.inference.prediction import Prediction, Timing
from core.photos.decode import Photo, decode
from core.photos.prepare import Preparation, decoded_side
from core.photos.preprocess import crops

__all__ = ["Classifier", "PreprocessedPhoto", "name_of"]


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
        backbone: The engine of the folder, or of its base if it is a taught model; None to load
            the folder's own.

    Raises:
        BundleError: A file of the bundle is missing, corrupt or not usable, or the bundle was
            taught on another model than that of the backbone.
    """

    def __init__(self, bundle: Bundle, *, threads: int, backbone: Backbone | None = None) -> None:
        self._bundle = bundle
        if backbone is None:
            backbone = Backbone.load(_require_own_weights(bundle), threads=threads)
        self._backbone = backbone
        self._engine = backbone.engine
        self._views = MultiViewEngine(self._engine, self.config.input, self.config.views)
        self._head = _read_own_head(bundle, backbone)
        self._ood_params = read_ood_params(bundle, self._engine.features)

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
    def bundle(self) -> Bundle:
        """The model folder."""
        return self._bundle

    @property
    def backbone(self) -> Backbone:
        """The loaded model.tflite, of the base for a taught model."""
        return self._backbone

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each class, in the order of the logits."""
        return self.config.labels

    @property
    def ood_params(self) -> OodParams:
        """Parameters of the model's known_score method, see `known_score.OOD_PARAMS`."""
        return self._ood_params

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
            batch = [self.preprocess(photo) for photo in photos[start : start + MAX_BATCH]]
            predictions += self.infer(batch, saliency=[saliency] * len(batch))
        return predictions

    def preprocess(self, photo: Photo) -> PreprocessedPhoto:
        """Decode a photo and resize it to the model's input size: the first half of `predict`.

        Args:
            photo: As for `predict`.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        started = time.perf_counter()
        input_crops = crops(self.decode(photo), self.config.input)
        return PreprocessedPhoto(name_of(photo), input_crops, _milliseconds_since(started))

    def preparation(self, *, preview: int | None = None) -> Preparation:
        """Return the parameters with which another process can do the work of `preprocess`.

        Args:
            preview: Longer side in pixels of a preview to render as well; None for none.
        """
        return Preparation(self.config.input, preview)

    def infer(
        self, photos: Sequence[PreprocessedPhoto], *, saliency: Sequence[bool]
    ) -> list[Prediction]:
        """Run the model on preprocessed photos: the second half of `predict`.

        Args:
            photos: At most `MAX_BATCH` outputs of this classifier's `preprocess`.
            saliency: For each of them, whether to compute a saliency map.
        """
        if not photos:
            return []
        started = time.perf_counter() - self._engine.transfer_s
        outputs = self.outputs_of_crops([photo.crops for photo in photos])
        scores = self._known_scores(outputs)
        explain = [i for i, requested in enumerate(saliency) if requested]
        evidence: dict[int, Evidence] = {}
        if explain:
            # With several crops, the saliency map is that of the middle crop.
            middle = np.stack([photos[i].crops[len(photos[i].crops) // 2] for i in explain])
            evidence = dict(zip(explain, map(self._evidence, self.maps(middle)), strict=True))
        infer = _milliseconds_since(started + self._engine.transfer_s) / len(photos)
        return [
            make_prediction(
                self._bundle,
                photo.photo,
                outputs.logits[i],
                float(scores[i]),
                evidence.get(i),
                Timing(photo.decode_ms, infer),
            )
            for i, photo in enumerate(photos)
        ]

    def decode(self, photo: Photo) -> NDArray[np.uint8]:
        """Decode a photo at a scale that suffices for this model.

        Returns:
            Array of shape (h, w, 3), uint8, RGB.

        Raises:
            ImageError, PhotoReadError: As in `predict`.
        """
        return decode(photo, min_side=decoded_side(self.config.input))

    def embeddings(
        self, photos: Sequence[PreprocessedPhoto], *, features: Sequence[bool]
    ) -> list[Embedding]:
        """Compute the embeddings of preprocessed photos.

        Args:
            photos: At most `MAX_BATCH` outputs of this classifier's `preprocess`, at least one.
            features: For each of them, whether to return feature maps, of the middle crop.
        """
        started = time.perf_counter()
        vectors = self.embed([photo.crops for photo in photos])
        maps = [
            self.features(photo.crops[len(photo.crops) // 2][None])[0] if requested else None
            for photo, requested in zip(photos, features, strict=True)
        ]
        infer = _milliseconds_since(started) / len(photos)
        return [
            Embedding(self.name, self.revision, vector, feature_map, Timing(photo.decode_ms, infer))
            for photo, vector, feature_map in zip(photos, vectors, maps, strict=True)
        ]

    def embed(self, photos: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Compute embeddings of photos, averaged over crops and views.

        Args:
            photos: As for `outputs_of_crops`; not empty.

        Returns:
            Array of shape (n, d), float32.
        """
        return self.outputs_of_crops(photos).embedding

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the model on images of its input size and average over all views.

        Args:
            images: Outputs of `preprocess.resize`, shape (n, height, width, 3), uint8, RGB.

        Returns:
            Mean logits and embeddings of the n images.
        """
        return self._apply_head(self._views.outputs(images))

    def outputs_of_crops(self, photos: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Run the model on the crops of photos and average over crops and views.

        Args:
            photos: One array for each photo, the output of `crops`: shape (c, height, width, 3),
                uint8, RGB; c may differ.

        Returns:
            Mean logits and embeddings, one row for each photo.
        """
        return self._apply_head(self._views.outputs_of_crops(photos))

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute class evidence maps, averaged over all views.

        Args:
            images: As for `outputs`; n at least 1.

        Returns:
            Array of shape (n, h, w, k), float32, where h × w is the model's map resolution, lower
            than that of the image.
        """
        if self._head is not None:
            return self._head.maps(self.features(images))
        return self._views.maps(images)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the feature maps behind the embeddings, averaged over all views.

        Args:
            images: As for `outputs`; n at least 1.

        Returns:
            Array of shape (n, h, w, d), float32.
        """
        return self._views.features(images)

    def saliency(self, image: NDArray[np.uint8], label: int) -> NDArray[np.float32] | None:
        """Compute the saliency map of one image for any label.

        Args:
            image: Array of the model's input size, shape (height, width, 3), uint8, RGB.
            label: Index of the label.

        Returns:
            As `Prediction.saliency`.
        """
        return self._evidence(self.maps(image[None])[0]).saliency(label, self.config.input)

    def _evidence(self, maps: NDArray[np.float32]) -> Evidence:
        return Evidence(maps, activation=self._head is not None or self._engine.has_features)

    def _apply_head(self, outputs: Outputs) -> Outputs:
        """Replace the logits of the base by those of the head, where the model has one."""
        if self._head is None:
            return outputs
        return Outputs(self._head.logits(outputs.embedding), outputs.embedding)

    def _known_scores(self, outputs: Outputs) -> NDArray[np.float64]:
        if self._head is not None:
            return self._head.known_scores(outputs.embedding)
        config = self.config
        return known_scores(config.verdict.method, outputs, config, self._ood_params)


def _require_own_weights(bundle: Bundle) -> Bundle:
    """Return a bundle that has a model.tflite.

    Raises:
        BundleError: The bundle is a taught model, which needs its base.
    """
    base = bundle.config.base
    if base is not None:
        raise BundleError(
            f"{bundle.config.name} was taught on {base.name}, which is needed to load it."
        )
    return bundle


def _read_own_head(bundle: Bundle, backbone: Backbone) -> Head | None:
    """Read the head of a taught model; None for a model with its own model.tflite.

    Raises:
        BundleError: The head is damaged, or the backbone is not that of its base.
    """
    config, base_config = bundle.config, backbone.bundle.config
    if config.base is None:
        return None
    if config.base.sha256 != base_config.sha256[MODEL]:
        raise BundleError(
            f"{config.name} was taught on a model other than {base_config.name} "
            f"{backbone.bundle.revision}."
        )
    if (config.input, config.views) != (base_config.input, base_config.views):
        raise BundleError(
            f"{config.name} preprocesses photos differently from its base {base_config.name}. "
            "Teach it again."
        )
    return read_head(bundle.read(HEAD), backbone.engine.features, len(config.labels))


def name_of(photo: Photo) -> str | None:
    """Return the path of a photo; None for bytes and PIL images."""
    return os.fspath(photo) if isinstance(photo, str | os.PathLike) else None


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
