from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest

from core.rollout.sequential import (
    Blocks,
    average_alternatives,
    block_sizes,
    combine_strata,
    log_evidence,
    log_factors,
)


def blocks(*counts: tuple[int, int, int, int]) -> Blocks:
    return Blocks(*np.array(counts).T)


def expected_factor(candidate: float, live: float, sizes: tuple[int, int]) -> float:
    """Return the expectation of a block's evidence, summed over all of its outcomes."""
    total = 0.0
    n_a, n_b = sizes
    for x_a, x_b in itertools.product(range(n_a + 1), range(n_b + 1)):
        p_a = comb(n_a, x_a) * candidate**x_a * (1 - candidate) ** (n_a - x_a)
        p_b = comb(n_b, x_b) * live**x_b * (1 - live) ** (n_b - x_b)
        evidence = np.exp(average_alternatives(log_factors(blocks((n_a, x_a, n_b, x_b)))))[0]
        total += p_a * p_b * float(evidence)
    return total


@pytest.mark.parametrize("sizes", [(1, 1), (1, 6), (3, 1), (20, 7)])
@pytest.mark.parametrize("live", [0.001, 0.05, 0.3, 0.5, 0.9, 1.0])
def test_evidence_does_not_grow_while_the_candidate_is_no_worse(
    live: float, sizes: tuple[int, int]
) -> None:
    for candidate in (live, live / 2, 0.0):
        assert expected_factor(candidate, live, sizes) <= 1 + 1e-12


def test_evidence_grows_where_the_candidate_is_worse() -> None:
    assert expected_factor(0.65, 0.05, (1, 1)) > 1.1
    assert log_evidence(blocks(*[(1, 1, 1, 0)] * 12)) > np.log(100)


def test_evidence_falls_where_the_candidate_is_better() -> None:
    assert log_evidence(blocks(*[(1, 0, 1, 1)] * 12)) < 0
    assert log_evidence(blocks(*[(1, 0, 1, 0)] * 12)) < 0


def test_photos_of_a_single_revision_are_no_evidence() -> None:
    assert log_evidence(blocks((50, 50, 0, 0), (0, 0, 70, 0), (0, 0, 0, 0))) == pytest.approx(0)


def test_combined_evidence_starts_at_one() -> None:
    assert combine_strata(np.zeros(10)) == pytest.approx(0)
    assert combine_strata(np.zeros(1)) == pytest.approx(0)


def test_combined_evidence_finds_one_worse_class_and_many() -> None:
    one = np.array([12.0] + [-0.5] * 9)
    assert 12 - np.log(10) - 2 < combine_strata(one) < 12
    assert combine_strata(np.full(10, 4.0)) > 10, "ten classes that are a little worse add up"


@pytest.mark.parametrize(
    ("share", "sizes"), [(0.5, (1, 1)), (0.1, (1, 6)), (0.9, (6, 1)), (0.01, (1, 9))]
)
def test_block_sizes_follow_the_share(share: float, sizes: tuple[int, int]) -> None:
    assert block_sizes(share) == sizes
