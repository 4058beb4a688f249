"""Out-of-distribution (OOD) scores: how likely a photo shows one of the known classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import VERDICT, Config, VerdictMethod
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.calibration import probabilities
from core.inference.engine import Outputs
from core.inference.npz import CORRUPT, read_arrays, write_arrays

__all__ = [
    "OOD_PARAMS",
    "OodParams",
    "known_scores",
    "project_embeddings",
    "read_ood_params",
    "write_ood_params",
]

OodParams = Mapping[str, NDArray[np.floating[Any]]]
"""Parameters of an OOD method, by name."""

OOD_PARAMS: Mapping[VerdictMethod, tuple[str, ...]] = {
    "max_softmax": (),
    "energy": (),
    "gen": (),
    # Projection matrix (d, p) and projected embeddings of training images (m, p).
    "knn": ("axes", "neighbours"),
    # Norms of the differences of class weights (k, k) and mean training embedding (d,).
    "fdbd": ("distances", "center"),
    # Linear layer on the embedding, (d, k + 1) and (k + 1,); its last output is the class "none".
    "probe": ("kernel", "bias"),
}
_GEN_GAMMA = 0.1
_NEIGHBOUR_RANK = 10
_MAX_BYTES = 4_000_000


def known_scores(
    method: VerdictMethod, outputs: Outputs, config: Config, ood_params: OodParams
) -> NDArray[np.float64]:
    """Compute the OOD score of each image; higher means more likely in-distribution.

    Args:
        method: One of
            `max_softmax`: largest of `probabilities` (Hendrycks and Gimpel 2017);
            `energy`: log-sum-exp of the logits (Liu et al. 2020);
            `gen`: minus the sum of (p (1 - p))^.1 over `probabilities` (Liu et al. 2023, GEN);
            `knn`: minus the squared distance to the 10th nearest of a sample of training
            embeddings, all of unit length (Sun et al. 2022). Inner products are taken in a
            projection on p axes (64 where this project fits them), so a component orthogonal to the
            axes adds to the distance from every neighbour;
            `fdbd`: mean distance to the decision boundaries, divided by the distance to the mean
            training embedding (Liu and Qin 2024);
            `probe`: log odds of the labels against "none", from a linear layer on the embedding
            with an additional output for "none" (outlier exposure with a background class).
            `center`, which needs the head of a taught model, is `Head.known_scores`.
        outputs: Logits and embeddings of n images.
        config: Configuration of the bundle; its temperature and exponent are used.
        ood_params: Parameters of the method, see `OOD_PARAMS`.

    Returns:
        Array of shape (n,), float64, on the method's own scale.

    Raises:
        ValueError: The method is `center`.
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
            return _knn(outputs.embedding, ood_params)
        case "fdbd":
            return _fdbd(outputs, ood_params)
        case "probe":
            return _probe(outputs.embedding, ood_params)
        case "center":
            raise ValueError("the method `center` is computed by the head of a taught model")


def read_ood_params(bundle: Bundle, features: int) -> OodParams:
    """Read and validate the parameters of a bundle's OOD method from verdict.npz.

    Args:
        bundle: The model folder.
        features: Length d of the model's embedding.

    Returns:
        Float32 arrays by name; empty for a method without parameters.

    Raises:
        BundleError: verdict.npz is missing, corrupt or too large, or its arrays do not fit the
            method and the model.
    """
    method, k = bundle.config.verdict.method, len(bundle.config.labels)
    expected = OOD_PARAMS.get(method, ())
    if not expected:
        return {}
    content = bundle.read(VERDICT)
    try:
        arrays = read_arrays(content, expected, max_bytes=_MAX_BYTES)
        ood_params = {name: _to_finite_float32(name, values) for name, values in arrays.items()}
        _check_shapes(ood_params, features, k)
    except CORRUPT as error:
        raise BundleError(
            f"{bundle.folder / VERDICT} cannot be used: {error}. The method {method} requires the "
            f"arrays {', '.join(expected)}. Download the model again."
        ) from error
    return ood_params


def _to_finite_float32(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {values.dtype}; expected a float dtype")
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32)
    if not np.isfinite(exact).all():
        raise ValueError(f"{name} contains values that are not finite")
    return exact


def _check_shapes(ood_params: OodParams, features: int, k: int) -> None:
    shapes = {name: values.shape for name, values in ood_params.items()}
    if "distances" in ood_params:
        fits = shapes == {"distances": (k, k), "center": (features,)}
        fits = fits and bool((ood_params["distances"] + np.eye(k) > 0).all())
        requirement = f"distances above 0 of shape {(k, k)} and a center of shape {(features,)}"
    elif "kernel" in ood_params:
        fits = shapes == {"kernel": (features, k + 1), "bias": (k + 1,)}
        requirement = f"a kernel of shape {(features, k + 1)} and a bias of shape {(k + 1,)}"
    else:
        axes, neighbours = shapes["axes"], shapes["neighbours"]
        fits = len(axes) == len(neighbours) == 2 and axes == (features, neighbours[1])
        fits = fits and neighbours[0] >= _NEIGHBOUR_RANK
        requirement = (
            f"axes of shape ({features}, p) and at least {_NEIGHBOUR_RANK} neighbours of length p"
        )
    if not fits:
        raise ValueError(f"the model requires {requirement}, but the shapes are {shapes}")


def write_ood_params(ood_params: OodParams) -> bytes:
    """Serialise the parameters of an OOD method to the content of verdict.npz.

    The output is deterministic: equal parameters give equal bytes.
    """
    return write_arrays(ood_params)


def _energy(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    highest = exact.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(exact - highest[:, None]).sum(axis=-1)))


def _gen(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    k = probabilities.shape[-1]
    # 1 - p is summed from the other probabilities: for p near 1 the difference would round to 0.
    others = probabilities @ (1 - np.eye(k))
    return np.asarray(-((probabilities * others) ** _GEN_GAMMA).sum(axis=-1))


def _knn(embedding: NDArray[np.float32], ood_params: OodParams) -> NDArray[np.float64]:
    # The squared distance between unit vectors is 2 minus twice their inner product. Unlike `@`,
    # `einsum` starts no threads for thousands of neighbours; they slow down the next inference.
    projected = project_embeddings(embedding, ood_params)
    products = np.einsum("nd,kd->nk", projected, ood_params["neighbours"])
    kth = products.shape[1] - _NEIGHBOUR_RANK
    nearest = np.partition(products, kth, axis=1)[:, kth]
    return np.asarray(2 * nearest.astype(np.float64) - 2)


def project_embeddings(
    embedding: NDArray[np.float32], ood_params: OodParams
) -> NDArray[np.float32]:
    """Project embeddings of unit length onto the axes of the `knn` method.

    Args:
        embedding: Array of shape (n, d), float32; rows are normalised to unit length first.
        ood_params: Holds `axes`, shape (d, p), with orthonormal columns.

    Returns:
        Array of shape (n, p), float32.
    """
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    return np.asarray(embedding / np.maximum(lengths, 1e-12) @ ood_params["axes"], np.float32)


def _probe(embedding: NDArray[np.float32], ood_params: OodParams) -> NDArray[np.float64]:
    logits = np.asarray(embedding @ ood_params["kernel"] + ood_params["bias"], np.float32)
    return np.asarray(_energy(logits[:, :-1]) - logits[:, -1])


def _fdbd(outputs: Outputs, ood_params: OodParams) -> NDArray[np.float64]:
    logits = outputs.logits.astype(np.float64)
    best = logits.argmax(axis=-1)
    # A class has no boundary with itself; a denominator of 1 makes its distance 0 / 1 = 0.
    lengths = ood_params["distances"][best] + np.eye(logits.shape[-1])[best]
    to_boundaries = (logits.max(axis=-1, keepdims=True) - logits) / lengths
    mean = to_boundaries.sum(axis=-1) / (logits.shape[-1] - 1)
    center_distance = np.linalg.norm(outputs.embedding - ood_params["center"], axis=1)
    return np.asarray(mean / np.maximum(center_distance, 1e-12))
