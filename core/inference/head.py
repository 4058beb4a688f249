"""Classification head on the embedding of another model, and its serialisation as head.npz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BundleError
from core.inference.npz import CORRUPT, read_arrays, write_arrays

__all__ = ["EmbeddingSpace", "Head", "read_head", "read_space", "write_head", "write_space"]

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
        standardised = offsets / self.scale
        coordinates = standardised @ self.axes
        return np.asarray(standardised + (coordinates * (self.gains - 1)) @ self.axes.T, np.float32)

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened embeddings of unit length, shape (n, d), float32.

        Args:
            embeddings: Shape (n, d).
        """
        whitened = self.whiten(embeddings)
        lengths = np.maximum(np.linalg.norm(whitened, axis=-1, keepdims=True), _MIN_LENGTH)
        return np.asarray(whitened / lengths, np.float32)


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
        whitened = self.space.whiten_offsets(features - self.space.mean)
        places = features.shape[1] * features.shape[2]
        return np.asarray(
            whitened @ self.weights / (lengths[:, None, None, None] * places), np.float32
        )


def write_head(head: Head) -> bytes:
    """Serialise a head to the content of head.npz, without pickled objects.

    Equal heads give equal bytes. The axes are stored in float16, all else in float32.

    Args:
        head: The head.
    """
    head_arrays = {"weights": head.weights, "bias": head.bias, "centers": head.centers}
    return write_arrays(_space_arrays(head.space) | head_arrays)


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
    expected = {
        "weights": (features, classes),
        "bias": (classes,),
        "centers": (classes, features),
    }
    arrays, space = _read_arrays("head.npz", content, features, expected)
    return Head(space, arrays["weights"], arrays["bias"], arrays["centers"])


def write_space(space: EmbeddingSpace) -> bytes:
    """Serialise an embedding space to the content of space.npz, as `write_head` does.

    Args:
        space: The projection.
    """
    return write_arrays(_space_arrays(space))


def read_space(content: bytes, features: int) -> EmbeddingSpace:
    """Read the embedding space of a base model from the content of space.npz.

    Args:
        content: The file's content.
        features: Length d of the embeddings of the base model.

    Raises:
        BundleError: The file is corrupt or larger than 4 MB, or does not fit the base model.
    """
    return _read_arrays("space.npz", content, features, {})[1]


def _space_arrays(space: EmbeddingSpace) -> dict[str, NDArray[Any]]:
    arrays = {field.name: getattr(space, field.name) for field in fields(space)}
    return arrays | {"axes": space.axes.astype(np.float16)}


def _read_arrays(
    file: str, content: bytes, features: int, others: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, NDArray[np.float32]], EmbeddingSpace]:
    """Read and validate an embedding space and other arrays, whose expected shapes are given."""
    names = [*(field.name for field in fields(EmbeddingSpace)), *others]
    advice = "Teach or download the model again."
    try:
        with np.errstate(over="ignore"):
            arrays = {
                name: np.asarray(values, np.float32)
                for name, values in read_arrays(content, names, max_bytes=_MAX_BYTES).items()
            }
    except CORRUPT as error:
        raise BundleError(
            f"{file} cannot be read: {error}. Expected are at most {_MAX_BYTES:,} bytes with the "
            f"arrays {', '.join(names)}. {advice}"
        ) from error
    rank = arrays["gains"].shape[0] if arrays["gains"].ndim == 1 else -1
    expected = {
        "mean": (features,),
        "scale": (features,),
        "axes": (features, rank),
        "gains": (rank,),
        **others,
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise BundleError(
                f"{name} of {file} has shape {arrays[name].shape}; expected are finite values of "
                f"shape {shape}, for embeddings of {features} values. {advice}"
            )
    if (arrays["scale"] <= 0).any():
        raise BundleError(f"scale of {file} must be positive. {advice}")
    return arrays, EmbeddingSpace(*(arrays[field.name] for field in fields(EmbeddingSpace)))
