"""Assign clients to canaries, and sample photos for shadows."""

from __future__ import annotations

import hashlib

from core.store.rollouts import Rollout

__all__ = ["is_assigned", "is_sampled"]


def is_assigned(rollout: Rollout, client: str) -> bool:
    """Return whether a canary answers a client; equal in every process throughout the rollout.

    Args:
        rollout: The canary.
        client: Key of the client.
    """
    return _hash_fraction(rollout, client.encode()) < rollout.share


def is_sampled(rollout: Rollout, digest: str) -> bool:
    """Return whether a shadow answers a photo, by the digest of the live answer to it.

    Args:
        rollout: The shadow.
        digest: Digest of the answer, as of `answer_digest`.
    """
    return _hash_fraction(rollout, digest.encode()) < rollout.share


def _hash_fraction(rollout: Rollout, text: bytes) -> float:
    """Hash a text to a number in [0, 1), with the rollout as the key."""
    key = f"{rollout.model} {rollout.candidate} {rollout.began_at.isoformat()}".encode()
    digest = hashlib.blake2b(text, key=hashlib.sha256(key).digest(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
