"""How a recipe learns from real photos beside its data set, as data."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import TrainingError

__all__ = ["Phase", "PhotoPlan"]


@dataclass(frozen=True)
class Phase:
    """Epochs of one image size, over which the learning rate falls along half a cosine.

    Attributes:
        epochs: How many.
        side: Side of the images, pixels.
        rows: Rows of the data set that an epoch takes, drawn anew for each.
        peak: The learning rate at its highest.
        last: The learning rate at the end.
        warm_up: Share of the steps over which the rate first changes on a line from that of the
            phase before, or from 0, to `peak`; 0 to 1.
    """

    epochs: int
    side: int
    rows: int
    peak: float
    last: float
    warm_up: float = 0.04


@dataclass(frozen=True)
class PhotoPlan:
    """What an epoch holds, and which weights a run ends with.

    The network has one output more than there are labels, for photos of none of them. A logistic
    regression on its embeddings of unchanged images is the head that the first epoch begins with
    (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054). The weights that are
    served lie on the line from those of that moment to the running average of the run (WiSE-FT:
    Wortsman et al. 2022, arXiv 2109.01903).

    Attributes:
        phases: In their order; the last has the size that is served.
        frozen: First parts of the names, up to an underscore, of layers that learn nothing.
        known_share: Share of a batch that are photos of the labels, each label as often as others.
        none_share: Share of a batch that are photos of none of the labels.
        near_kinds: Kinds of `none` that resemble the labels.
        near_weight: How many times more often a photo of these is drawn than another of none.
        blurred: Share of the photos that are scaled down first.
        blurred_sides: Least and largest side in pixels that these are scaled down to.
        shrunk, sharpened: Shares of the data set's rows that are scaled down first, to at least
            three quarters of their side, or sharpened once they have the size of the epoch.
        probe_rows: Rows of the data set that the logistic regression learns from, beside all
            photos.
        probe_c: Inverse of its regularisation, for standardised embeddings.
        per_stage: Factor of the learning rate from one stage of the network to the one before it.
        blends: Places on the line to choose from; 1 is the running average.
        blend_rows: Held-out rows that the choice is made by, beside the valid photos.
        views: Of each image, random ones, of which a network that is held fast computes the
            features once; 0 where the network learns, from new views in each epoch.
        left_out: Sources of photos that nothing learns from or is chosen by.
    """

    phases: tuple[Phase, ...]
    frozen: tuple[str, ...] = ()
    known_share: float = 0.16
    none_share: float = 0.09
    near_kinds: tuple[str, ...] = ()
    near_weight: float = 2.5
    blurred: float = 0.4
    blurred_sides: tuple[int, int] = (32, 96)
    shrunk: float = 0.15
    sharpened: float = 0.25
    probe_rows: int = 10_000
    probe_c: float = 0.003
    per_stage: float = 0.8
    blends: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    blend_rows: int = 2_000
    views: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Return the number of epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def phase(self, epoch: int) -> Phase:
        """Return the phase of an epoch, the first being 1.

        Raises:
            TrainingError: There is no such epoch.
        """
        last = 0
        for phase in self.phases:
            last += phase.epochs
            if epoch <= last:
                return phase
        raise TrainingError(f"Epoch {epoch} is beyond the {last} epochs of the plan.")
