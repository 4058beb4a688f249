"""Saliency maps from class evidence maps."""

from __future__ import annotations

import numpy as np
import pytest

from core.inference.evidence import Evidence
from core.photos.preprocess import InputSpec

_SIDE = 8
_SPEC = InputSpec(
    height=_SIDE,
    width=_SIDE,
    resize="squash",
    interpolation="bilinear",
    mean=(0, 0, 0),
    std=(1, 1, 1),
)
_LABEL, _OTHER = 0, 1


def _evidence(*, activation: bool) -> Evidence:
    """Return evidence for two labels at different places, and for both everywhere."""
    maps = np.ones((_SIDE, _SIDE, 3), np.float32)
    maps[1:4, 1:4, _LABEL] = 5
    maps[4:7, 4:7, _OTHER] = 5
    return Evidence(maps, activation=activation)


@pytest.mark.parametrize("activation", [True, False])
def test_saliency_lies_where_the_evidence_for_the_label_is(activation: bool) -> None:
    saliency = _evidence(activation=activation).saliency(_LABEL, _SPEC)
    assert saliency is not None
    assert saliency.dtype == np.float32
    assert saliency.max() == 1
    assert saliency[1:4, 1:4].sum() > 0.7 * saliency.sum()


def test_evidence_shared_by_labels_cancels_out() -> None:
    saliency = _evidence(activation=True).saliency(_LABEL, _SPEC)
    assert saliency is not None
    assert not saliency[4:].any()


@pytest.mark.parametrize("activation", [True, False])
def test_label_behind_another_is_explained_by_its_positive_evidence(activation: bool) -> None:
    maps = np.ones((_SIDE, _SIDE, 2), np.float32)
    maps[:, :, _OTHER] = 2
    saliency = Evidence(maps, activation=activation).saliency(_LABEL, _SPEC)
    assert saliency is not None
    assert (saliency == 1).all()


def test_maps_without_positive_evidence_give_an_empty_saliency_map() -> None:
    maps = -np.ones((_SIDE, _SIDE, 2), np.float32)
    saliency = Evidence(maps, activation=True).saliency(_LABEL, _SPEC)
    assert saliency is not None
    assert not saliency.any()


@pytest.mark.parametrize(("cells", "shown"), [(4, False), (5, True)])
def test_saliency_of_too_coarse_maps_is_none(cells: int, shown: bool) -> None:
    maps = np.ones((cells, cells, 2), np.float32)
    saliency = Evidence(maps, activation=True).saliency(_LABEL, _SPEC)
    assert (saliency is not None) == shown
