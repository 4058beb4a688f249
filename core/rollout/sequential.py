"""Sequential tests of whether a candidate revision fails more often than the live one.

A test may be looked at after every photo and stopped at any time: its evidence is an e-process,
a nonnegative supermartingale that starts at 1 while the candidate is no worse. By Ville's
inequality (1939), the probability that it ever reaches 1 / alpha is then at most alpha (Ramdas,
Grünwald, Vovk and Shafer 2023, "Game-Theoretic Statistics and Safe Anytime-Valid Inference",
arXiv:2210.01948).

The evidence is that of Turner, Ly and Grünwald (2024), "Generic E-variables for exact sequential
k-sample tests that allow for optional stopping", Journal of Statistical Planning and Inference
230, 106116. Photos are compared in blocks, each of a fixed number from the candidate and from the
live revision. For failure rates a > b of an alternative, a block of n_a and n_b photos multiplies
the evidence by their likelihood ratio against the common rate (n_a a + n_b b) / (n_a + n_b). Its
expectation is at most 1 for every common rate (the weighted geometric mean of the two factors is
at most their weighted arithmetic mean, which is 1), and also where the candidate fails less often,
since the factors are monotone in either rate. Blocks make no assumption about the share of the
photos that either revision gets, or that are judged. People may judge wrong answers more often than
right ones, as long as they do so for both revisions alike: the rates are those among the judged
photos. The rate may differ from block to block. Blocks of one photo or run of each revision have
the same product as the block of their sums, so such pairs may be added up.

As in the mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis and Walsh 2019,
"Always Valid Inference: Continuous Monitoring of A/B Tests"), the evidence is averaged over a grid
of alternatives, so that none needs to be chosen. Classes are strata, as in Turner and Grünwald
(2023), "Safe Sequential Testing and Effect Estimation in Stratified Count Data",
arXiv:2302.11401: photos are compared within their true class only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCURACY_ALPHA",
    "ERRORS_ALPHA",
    "MAX_PER_PERSON",
    "SLOW_ALPHA",
    "Blocks",
    "average_alternatives",
    "block_sizes",
    "combine_strata",
    "log_evidence",
    "log_factors",
]

ACCURACY_ALPHA, ERRORS_ALPHA, SLOW_ALPHA = 0.025, 0.01, 0.01
"""Maximum false-alarm probabilities of the tests of judged answers, errors and slow answers.

That of judged answers leaves room for photos of one person, which are not independent: together,
the tests are to alarm falsely in at most 5% of all canaries, see docs/ROLLOUT.md.
"""

MAX_PER_PERSON = 2
"""Number of judged photos of a person that count for each true class and revision.

One person's photos are alike, and the bound on false alarms is exact for independent ones only.
"""

_LIVE_RATES = np.array([0.003, 0.03, 0.1, 0.25, 0.5])
# Of the photos that the live revision gets right, the share that the candidate gets wrong.
_DIFFERENCES = np.array([0.03, 0.15, 0.35, 0.65])
_LIVE = np.repeat(_LIVE_RATES, len(_DIFFERENCES))
_CANDIDATE = _LIVE + (1 - _LIVE) * np.tile(_DIFFERENCES, len(_LIVE_RATES))
_MAX_PER_BLOCK = 9


class Blocks(NamedTuple):
    """Counts of photos of both revisions; arrays of any one shape.

    Attributes:
        candidate, candidate_failed: Photos of the candidate, and those on which it failed.
        live, live_failed: The same of the live revision.
    """

    candidate: NDArray[np.int64]
    candidate_failed: NDArray[np.int64]
    live: NDArray[np.int64]
    live_failed: NDArray[np.int64]


def block_sizes(share: float) -> tuple[int, int]:
    """Return how many photos of the candidate and of the live revision make a block.

    Args:
        share: Share of the photos that the candidate gets, more than 0 and less than 1.
    """
    # Two thirds of the expected ratio, so that blocks rarely wait for photos of the revision with
    # the larger share.
    ratio = (1 - share) / share
    live = int(np.clip(ratio * 2 / 3, 1, _MAX_PER_BLOCK))
    candidate = int(np.clip(2 / 3 / ratio, 1, _MAX_PER_BLOCK))
    return candidate, live


def log_factors(blocks: Blocks) -> NDArray[np.float64]:
    """Compute the logarithm of each alternative's factor for each block.

    Args:
        blocks: Blocks; arrays of shape (...).

    Returns:
        Array of shape (..., g): g alternatives. Factors of independent blocks multiply.
    """
    n_a, x_a, n_b, x_b = (np.asarray(each, np.float64)[..., None] for each in blocks)
    total = np.maximum(n_a + n_b, 1)
    common = (n_a * _CANDIDATE + n_b * _LIVE) / total
    # An empty block has the factor 1; with a common rate of 0 it would be 0 × infinity.
    common = np.where(n_a + n_b > 0, common, _LIVE)
    return np.asarray(
        x_a * np.log(_CANDIDATE / common)
        + (n_a - x_a) * np.log((1 - _CANDIDATE) / (1 - common))
        + x_b * np.log(_LIVE / common)
        + (n_b - x_b) * np.log((1 - _LIVE) / (1 - common)),
        np.float64,
    )


def average_alternatives(log_wealth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the evidence over the alternatives.

    Args:
        log_wealth: Sums of `log_factors` over blocks; shape (..., g).

    Returns:
        Logarithm of the mean; shape (...).
    """
    top = log_wealth.max(axis=-1)
    mean = np.exp(log_wealth - top[..., None]).mean(axis=-1)
    return np.asarray(top + np.log(mean), np.float64)


def log_evidence(blocks: Blocks) -> float:
    """Compute the logarithm of the evidence of a sequence of blocks.

    Args:
        blocks: Blocks; arrays of shape (n,).
    """
    return float(average_alternatives(log_factors(blocks).sum(axis=0)))


def combine_strata(log_strata: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combine the evidence of strata, of which any subset, most likely a small one, may be worse.

    With k strata, each is worse with prior probability 1 / k. The result is an e-process, since
    each block changes the factor of one stratum only.

    Args:
        log_strata: Logarithms of the evidence; shape (..., k).

    Returns:
        Logarithm of the combined evidence; shape (...).
    """
    k = log_strata.shape[-1]
    worse = log_strata - np.log(k)
    if k == 1:
        return np.asarray(worse[..., 0], np.float64)
    return np.asarray(np.logaddexp(np.log1p(-1 / k), worse).sum(axis=-1), np.float64)
