"""Out-of-distribution scores: how much a photo looks like the classes a model knows."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import VERDICT, Config, VerdictMethod
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.calibration import probabilities
from core.inference.engine import Outputs

__all__ = ["ARRAYS", "Arrays", "known_scores", "look", "read_arrays", "write_arrays"]

Arrays = Mapping[str, NDArray[np.floating[Any]]]
"""What a method needs beside the outputs, by name."""

ARRAYS: Mapping[VerdictMethod, tuple[str, ...]] = {
    "max_softmax": (),
    "energy": (),
    "gen": (),
    # Directions to look along (d, p), and train images seen so (m, p).
    "knn": ("axes", "neighbours"),
    # Lengths of the differences of class weights (k, k), and the mean embedding (d,).
    "fdbd": ("distances", "center"),
    # Of a linear layer on the embedding, (d, k + 1) and (k + 1,); its last output is for none.
    "probe": ("kernel", "bias"),
}
_GAMMA = 0.1
_NEIGHBOUR = 10
_MOST_BYTES = 4_000_000
# What the readers of zip and npy files raise on others, and on damaged ones.
_NOT_AN_NPZ = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def known_scores(
    method: VerdictMethod, outputs: Outputs, config: Config, arrays: Arrays
) -> NDArray[np.float64]:
    """How much each image looks like one of the known labels.

    Args:
        method: How that is told:
            `max_softmax`: largest of `probabilities` (Hendrycks and Gimpel 2017);
            `energy`: logarithm of the sum of e to the power of each logit (Liu et al. 2020);
            `gen`: minus the sum of (p (1 - p))^.1 over `probabilities` (Liu et al. 2023, GEN);
            `knn`: minus the squared distance to the 10th nearest of some train images, embeddings
            scaled to length 1 (Sun et al. 2022); products are taken along 64 axes alone, so what
            of an embedding lies off them is far from every image;
            `fdbd`: mean distance to the decision boundaries, divided by that to the mean of the
            train images' embeddings (Liu and Qin 2024);
            `probe`: log odds of one of the labels against none of them, from a linear layer on the
            embedding that has an output for none (outlier exposure with a background class).
        outputs: Of n images.
        config: The bundle's: how logits become probabilities.
        arrays: Those of `ARRAYS`.

    Returns:
        Shape (n,), float64; higher for images of the known labels, on the method's own scale.
    """
    match method:
        case "max_softmax":
            scores = probabilities(outputs.logits, config.temperature, config.exponent)
            return np.asarray(scores.max(axis=-1))
        case "energy":
            return _energy(outputs.logits)
        case "gen":
            return _gen(probabilities(outputs.logits, config.temperature, config.exponent))
        case "knn":
            return _knn(outputs.embedding, arrays)
        case "fdbd":
            return _fdbd(outputs, arrays)
        case "probe":
            return _probe(outputs.embedding, arrays)


def read_arrays(bundle: Bundle, features: int) -> Arrays:
    """What the bundle's method needs.

    Args:
        bundle: The model folder.
        features: d, the length of the model's embedding.

    Raises:
        BundleError: verdict.npz is missing, changed, too large, or not what the method needs.
    """
    method, k = bundle.config.verdict.method, len(bundle.config.labels)
    expected = ARRAYS[method]
    if not expected:
        return {}
    content = bundle.read(VERDICT)
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has {len(content):,} bytes, at most {_MOST_BYTES:,} are read")
        with zipfile.ZipFile(BytesIO(content)) as archive:
            # Before anything is unpacked: a small file can unpack to a large one.
            size = sum(entry.file_size for entry in archive.infolist())
        if size > 2 * _MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes, at most {2 * _MOST_BYTES:,} are read")
        with np.load(BytesIO(content), allow_pickle=False) as entries:
            arrays = {name: _checked(name, entries[name]) for name in expected}
        _check_shapes(arrays, features, k)
    except _NOT_AN_NPZ as error:
        raise BundleError(
            f"{bundle.folder / VERDICT} cannot be used: {error}. For the method {method} it holds "
            f"{', '.join(expected)}. Fetch the model again."
        ) from error
    return arrays


def _checked(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind != "f":
        raise ValueError(f"{name} holds {values.dtype}, not floats")
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32)
    if not np.isfinite(exact).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return exact


def _check_shapes(arrays: Arrays, features: int, k: int) -> None:
    shapes = {name: values.shape for name, values in arrays.items()}
    if "distances" in arrays:
        good = shapes == {"distances": (k, k), "center": (features,)}
        good = good and bool((arrays["distances"] + np.eye(k) > 0).all())
        wanted = f"distances above 0 of shape {(k, k)} and a center of shape {(features,)}"
    elif "kernel" in arrays:
        good = shapes == {"kernel": (features, k + 1), "bias": (k + 1,)}
        wanted = f"a kernel of shape {(features, k + 1)} and a bias of shape {(k + 1,)}"
    else:
        axes, neighbours = shapes["axes"], shapes["neighbours"]
        good = len(axes) == len(neighbours) == 2 and axes == (features, neighbours[1])
        good = good and neighbours[0] >= _NEIGHBOUR
        wanted = f"axes of shape ({features}, p) and at least {_NEIGHBOUR} neighbours of length p"
    if not good:
        raise ValueError(f"the model needs {wanted}; the shapes are {shapes}")


def write_arrays(arrays: Arrays) -> bytes:
    """Content of verdict.npz; the same arrays always give the same bytes."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub knows no mapping
    return buffer.getvalue()


def _energy(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    highest = exact.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(exact - highest[:, None]).sum(axis=-1)))


def _gen(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    k = probabilities.shape[-1]
    # 1 - p would be 0 long before the others are.
    others = probabilities @ (1 - np.eye(k))
    return np.asarray(-((probabilities * others) ** _GAMMA).sum(axis=-1))


def _knn(embedding: NDArray[np.float32], arrays: Arrays) -> NDArray[np.float64]:
    # Of two points of length 1, the distance squared is 2 - 2 times their product.
    products = look(embedding, arrays) @ arrays["neighbours"].T
    place = products.shape[1] - _NEIGHBOUR
    nearest = np.partition(products, place, axis=1)[:, place]
    return np.asarray(2 * nearest.astype(np.float64) - 2)


def look(embedding: NDArray[np.float32], arrays: Arrays) -> NDArray[np.float32]:
    """Embeddings, scaled to length 1, along the axes that `knn` compares them by.

    Args:
        embedding: Shape (n, d).
        arrays: `axes`, of length 1 and at right angles to each other.

    Returns:
        Shape (n, p), float32.
    """
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    return np.asarray(embedding / np.maximum(lengths, 1e-12) @ arrays["axes"], np.float32)


def _probe(embedding: NDArray[np.float32], arrays: Arrays) -> NDArray[np.float64]:
    logits = np.asarray(embedding @ arrays["kernel"] + arrays["bias"], np.float32)
    return np.asarray(_energy(logits[:, :-1]) - logits[:, -1])


def _fdbd(outputs: Outputs, arrays: Arrays) -> NDArray[np.float64]:
    logits = outputs.logits.astype(np.float64)
    best = logits.argmax(axis=-1)
    # 1 where there is no boundary, between a class and itself: the logits differ by 0 there.
    lengths = arrays["distances"][best] + np.eye(logits.shape[-1])[best]
    to_boundaries = (logits.max(axis=-1, keepdims=True) - logits) / lengths
    mean = to_boundaries.sum(axis=-1) / (logits.shape[-1] - 1)
    off_center = np.linalg.norm(outputs.embedding - arrays["center"], axis=1)
    return np.asarray(mean / np.maximum(off_center, 1e-12))
