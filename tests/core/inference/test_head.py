"""Heads on the embedding of another model."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from core.errors import BundleError
from core.inference.head import EmbeddingSpace, Head, read_head, write_head

FEATURES, CLASSES, RANK = 12, 3, 4


@pytest.fixture
def head() -> Head:
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(FEATURES, RANK)))
    # Axes are stored in float16.
    space = EmbeddingSpace(
        rng.normal(size=FEATURES).astype(np.float32),
        rng.uniform(0.5, 2, FEATURES).astype(np.float32),
        axes.astype(np.float16).astype(np.float32),
        rng.uniform(0.1, 1, RANK).astype(np.float32),
    )
    centers = rng.normal(size=(CLASSES, FEATURES))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    return Head(
        space,
        rng.normal(size=(FEATURES, CLASSES)).astype(np.float32),
        rng.normal(size=CLASSES).astype(np.float32),
        centers.astype(np.float32),
    )


def test_projection_has_unit_length_and_shrinks_the_axes(head: Head) -> None:
    embeddings = np.random.default_rng(1).normal(size=(5, FEATURES)).astype(np.float32)
    projected = head.space.project(embeddings)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
    standard = (embeddings - head.space.mean) / head.space.scale
    np.testing.assert_allclose(
        head.space.whiten(embeddings) @ head.space.axes,
        (standard @ head.space.axes) * head.space.gains,
        atol=2e-2,  # axes of float16 are not quite orthonormal
    )


def test_maps_sum_to_the_logits_without_their_biases(head: Head) -> None:
    features = np.random.default_rng(2).normal(size=(2, 4, 3, FEATURES)).astype(np.float32)
    summed = head.maps(features).sum(axis=(1, 2))
    logits = head.logits(features.mean(axis=(1, 2)))
    np.testing.assert_allclose(summed, logits - head.bias, atol=1e-4)


def test_known_score_is_one_at_a_center(head: Head) -> None:
    space = EmbeddingSpace(
        np.zeros(FEATURES, np.float32),
        np.ones(FEATURES, np.float32),
        head.space.axes,
        np.ones(RANK, np.float32),
    )
    plain = Head(space, head.weights, head.bias, head.centers)
    np.testing.assert_allclose(plain.known_scores(7 * head.centers), 1, rtol=1e-5)


def test_head_survives_a_round_trip(head: Head) -> None:
    content = write_head(head)
    again = read_head(content, FEATURES, CLASSES)
    embeddings = np.random.default_rng(3).normal(size=(5, FEATURES)).astype(np.float32)
    np.testing.assert_array_equal(again.logits(embeddings), head.logits(embeddings))
    np.testing.assert_array_equal(again.known_scores(embeddings), head.known_scores(embeddings))
    assert write_head(again) == content


@pytest.mark.parametrize(
    ("features", "classes", "name"), [(FEATURES + 1, CLASSES, "mean"), (FEATURES, 2, "weights")]
)
def test_head_of_another_base_is_rejected(
    head: Head, features: int, classes: int, name: str
) -> None:
    with pytest.raises(BundleError, match=f"{name} of head.npz has shape"):
        read_head(write_head(head), features, classes)


def test_corrupt_content_is_rejected(head: Head) -> None:
    content = write_head(head)
    for bad in (b"", b"no archive", content[: len(content) // 2]):
        with pytest.raises(BundleError, match=r"head\.npz cannot be read"):
            read_head(bad, FEATURES, CLASSES)


def test_pickled_content_is_rejected() -> None:
    buffer = BytesIO()
    np.savez(buffer, mean=np.array([{}], object))
    with pytest.raises(BundleError, match=r"head\.npz cannot be read"):
        read_head(buffer.getvalue(), FEATURES, CLASSES)


def test_infinite_values_are_rejected(head: Head) -> None:
    head.weights[0, 0] = np.inf
    with pytest.raises(BundleError, match="finite"):
        read_head(write_head(head), FEATURES, CLASSES)


def test_content_over_four_megabytes_is_rejected() -> None:
    with pytest.raises(BundleError, match="at most"):
        read_head(bytes(2**22 + 1), FEATURES, CLASSES)
