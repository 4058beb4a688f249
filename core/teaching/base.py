"""The model that new classifiers are taught on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import MODEL, SPACE, Base
from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.head import EmbeddingSpace, read_space
from core.photos.preprocess import InputSpec

__all__ = ["BASE_MODEL", "TeachingBase"]

BASE_MODEL = "efficientnet-frozen"
"""Name of the bundled model that new classifiers are taught on."""


@dataclass(frozen=True)
class TeachingBase:
    """A model on whose embeddings classification heads can be learned.

    Attributes:
        bundle: Model folder of the base.
    """

    bundle: Bundle

    def __post_init__(self) -> None:
        if SPACE not in self.bundle.config.sha256:
            raise BundleError(
                f"Nothing can be taught on {self.bundle.config.name} {self.bundle.revision}: it "
                f"has no {SPACE}. Use the model {BASE_MODEL} that comes with TenSight."
            )
        if self.bundle.config.input.resize == "three_crops":
            raise BundleError(
                f"Nothing can be taught on {self.bundle.config.name}: it uses three crops of each "
                f"photo. Use the model {BASE_MODEL} that comes with TenSight."
            )

    @property
    def reference(self) -> Base:
        """Name and digest, as taught models store them."""
        config = self.bundle.config
        return Base(name=config.name, sha256=config.sha256[MODEL])

    @property
    def input(self) -> InputSpec:
        """Input specification of the base."""
        return self.bundle.config.input

    def space(self, embeddings: NDArray[np.floating]) -> EmbeddingSpace:
        """Read the space in which heads are learned.

        Args:
            embeddings: Embeddings of the base, shape (..., d); only d is used.

        Raises:
            BundleError: space.npz is damaged, or does not fit the embeddings.
        """
        return read_space(self.bundle.read(SPACE), embeddings.shape[-1])
