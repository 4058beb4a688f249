"""Classification head on the embedding of another model, and its serialisation as head.npz."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from core.errors import BundleError

__all__ = ["EmbeddingSpace", "Head", "read_head", "write_head"]

_MAX_BYTES = 4 * 2**20
_MIN_LENGTH = 1e-12


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """Projection of embeddings onto the unit sphere of a whitened space.

    An embedding is standardised by channel, then whitened by the within-class covariance of the
    photos that the base model was built with: along the leading principal axes exactly, along all
    others by one common factor. Differences within a class count less afterwards, so that a few
    photos of a new class suffice to find its direction.

    Attributes:
        mean, scale: Mean and standard deviation of each channel, shape (d,), float32.
        axes: Leading principal axes of the within-class covariance, orthonormal columns, shape
            (d, r), float32.
        gains: Factor along each axis, relative to the factor along all other directions; shape
            (r,), float32.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]
    gains: NDArray[np.float32]

    def whiten(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened embeddings, shape (n, d), float32.

        Args:
            embeddings: Shape (n, d).
        """
        return self.whiten_offsets(embeddings - self.mean)

    def whiten_offsets(self, offsets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear part of `whiten`, for offsets from the mean.

        Args:
            offsets: Shape (..., d).
        """
        standard = offsets / self.scale
        along = standard @ self.axes
        return np.asarray(standard + (along * (self.gains - 1)) @ self.axes.T, np.float32)

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened embeddings of unit length, shape (n, d), float32.

        Args:
            embeddings: Shape (n, d).
        """
        white = self.whiten(embeddings)
        lengths = np.maximum(np.linalg.norm(white, axis=-1, keepdims=True), _MIN_LENGTH)
        return np.asarray(white / lengths, np.float32)


@dataclass(frozen=True, eq=False)
class Head:
    """Linear classifier on projected embeddings.

    Attributes:
        space: The projection.
        weights: Shape (d, k), float32.
        bias: Shape (k,), float32.
        centers: Mean direction of each class, of unit length, shape (k, d), float32.
    """

    space: EmbeddingSpace
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    centers: NDArray[np.float32]

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits of shape (n, k), float32.

        Args:
            embeddings: Shape (n, d).
        """
        return np.asarray(self.space.project(embeddings) @ self.weights + self.bias, np.float32)

    def known_scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the cosine similarity to the nearest class center, shape (n,), -1 to 1.

        Args:
            embeddings: Shape (n, d).
        """
        similarities = self.space.project(embeddings) @ self.centers.T
        return np.asarray(similarities.max(axis=1), np.float64)

    def maps(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute class evidence maps, which sum to the logits without their biases.

        Args:
            features: Feature maps whose mean over places is the embedding, shape (n, h, w, d).

        Returns:
            Array of shape (n, h, w, k), float32.
        """
        pooled = self.space.whiten(features.mean(axis=(1, 2)))
        lengths = np.maximum(np.linalg.norm(pooled, axis=-1), _MIN_LENGTH)
        white = self.space.whiten_offsets(features - self.space.mean)
        places = features.shape[1] * features.shape[2]
        return np.asarray(
            white @ self.weights / (lengths[:, None, None, None] * places), np.float32
        )


def write_head(head: Head) -> bytes:
    """Serialise a head to the content of head.npz, without pickled objects.

    Equal heads give equal bytes. The axes are stored in float16, all else in float32.

    Args:
        head: The head.
    """
    buffer = BytesIO()
    arrays = {field.name: getattr(head.space, field.name) for field in fields(head.space)}
    arrays["axes"] = arrays["axes"].astype(np.float16)
    np.savez(buffer, **arrays, weights=head.weights, bias=head.bias, centers=head.centers)
    return buffer.getvalue()


def read_head(content: bytes, features: int, classes: int) -> Head:
    """Read a head from the content of head.npz.

    Args:
        content: The file's content.
        features: Length d of the embeddings of the base model.
        classes: Number k of labels in config.json.

    Raises:
        BundleError: The file is corrupt or larger than 4 MB, or does not fit the base model or the
            labels.
    """
    if len(content) > _MAX_BYTES:
        raise BundleError(
            f"head.npz has {len(content):,} bytes; at most {_MAX_BYTES:,} are accepted. Teach or "
            "download the model again."
        )
    names = ("mean", "scale", "axes", "gains", "weights", "bias", "centers")
    try:
        with np.load(BytesIO(content), allow_pickle=False) as entries:
            if sorted(entries.files) != sorted(names):
                raise ValueError(f"it holds {', '.join(sorted(entries.files))}")
            arrays = {name: np.asarray(entries[name], np.float32) for name in names}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"head.npz cannot be read: {error}. Expected are the arrays {', '.join(names)}. Teach "
            "or download the model again."
        ) from error
    rank = arrays["gains"].shape[0] if arrays["gains"].ndim == 1 else -1
    expected = {
        "mean": (features,),
        "scale": (features,),
        "axes": (features, rank),
        "gains": (rank,),
        "weights": (features, classes),
        "bias": (classes,),
        "centers": (classes, features),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise BundleError(
                f"{name} of head.npz has shape {arrays[name].shape}; expected are finite values of "
                f"shape {shape} for {features} features and {classes} labels. Teach or download "
                "the model again."
            )
    if (arrays["scale"] <= 0).any():
        raise BundleError("scale of head.npz must be positive. Teach or download the model again.")
    space = EmbeddingSpace(*(arrays[name] for name in ("mean", "scale", "axes", "gains")))
    return Head(space, arrays["weights"], arrays["bias"], arrays["centers"])
