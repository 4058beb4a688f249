"""Schema of training on real photos beside a data set: phases, batches and choice of weights."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import TrainingError

__all__ = ["Phase", "PhotoPlan"]


@dataclass(frozen=True)
class Phase:
    """Epochs at one image size, with one cycle of cosine decay.

    Attributes:
        epochs: Number of epochs.
        side: Side of the images in pixels.
        rows: Number of data-set rows in an epoch, sampled anew without replacement.
        peak_rate: Maximum learning rate.
        final_rate: Learning rate of the last step.
        warm_up: Fraction of the steps, 0 to 1, over which the rate changes linearly to `peak_rate`
            from the final rate of the phase before; from 0 in the first phase.
    """

    epochs: int
    side: int
    rows: int
    peak_rate: float
    final_rate: float
    warm_up: float = 0.04


@dataclass(frozen=True)
class PhotoPlan:
    """Composition of the batches, fine-tuning schedule and selection of the final weights.

    The network has one output more than there are labels, for photos of none of them. Training
    starts from a linear probe: a logistic regression on the embeddings of unaugmented images
    (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054). The served weights are
    interpolated between the weights after linear probing and the exponential moving average of the
    run (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903).

    Attributes:
        phases: Phases in the order of training; the last one has the served image size.
        frozen_layers: Prefixes, up to the first underscore, of the names of layers that are not
            trained.
        known_fraction: Fraction of a batch that are photos of the labels; classes are sampled
            uniformly.
        none_fraction: Fraction of a batch that are photos of none of the labels.
        near_kinds: Kinds of `none` that resemble a label.
        near_weight: Sampling weight of a photo of these kinds, relative to other photos of none.
        blurred_fraction: Fraction of the photos that are scaled down first, which blurs them.
        blurred_sides: Range in pixels of the side that these are scaled down to, sampled
            log-uniformly.
        shrunk_fraction: Fraction of the rows that are scaled down first, to at least three quarters
            of their side.
        sharpened_fraction: Fraction of the rows that are sharpened after enlargement.
        probe_rows: Number of rows that the linear probe is fitted on, beside all photos.
        probe_c: Inverse L2 regularisation strength of the linear probe on standardised embeddings.
        stage_decay: Discriminative learning rates (Howard and Ruder 2018, arXiv 1801.06146): factor
            from the rate of one stage of the network to that of the stage before.
        interpolations: Candidate interpolation coefficients; 0 is the start, 1 the moving average.
        interpolation_rows: Number of held-out rows that the coefficient is selected on, beside the
            validation photos.
        feature_views: Number of random views of each image whose frozen features are computed once;
            0 where the network itself is trained, on new views in each epoch.
        held_out_sources: Sources of photos that take no part in training and model selection.
        tiny_imagenet_weight: Weight of Tiny ImageNet's images in the probe of the verdict, which is
            then fitted to the trained network, see `TinyProbe`; 0 to take the network's own outputs
            as the probe.
    """

    phases: tuple[Phase, ...]
    frozen_layers: tuple[str, ...] = ()
    known_fraction: float = 0.16
    none_fraction: float = 0.09
    near_kinds: tuple[str, ...] = ()
    near_weight: float = 2.5
    blurred_fraction: float = 0.4
    blurred_sides: tuple[int, int] = (32, 96)
    shrunk_fraction: float = 0.15
    sharpened_fraction: float = 0.25
    probe_rows: int = 10_000
    probe_c: float = 0.003
    stage_decay: float = 0.8
    interpolations: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    interpolation_rows: int = 2_000
    feature_views: int = 0
    held_out_sources: tuple[str, ...] = ()
    tiny_imagenet_weight: float = 0.0

    @property
    def epochs(self) -> int:
        """Return the number of epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 1.

        Raises:
            TrainingError: The plan has fewer epochs.
        """
        last = 0
        for phase in self.phases:
            last += phase.epochs
            if epoch <= last:
                return phase
        raise TrainingError(f"Epoch {epoch} is beyond the {last} epochs of the plan.")
