"""Schema of a training recipe: everything that decides the outcome of a run, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Family, Precision, View
from core.bundle.metrics import BaselineMetrics
from core.errors import TrainingError
from core.photos.preprocess import InputSpec
from core.settings import Settings
from core.training.data.datasets import Split
from core.training.networks.cnn import Shape
from core.training.networks.optimizers import AnchoredAdamW, Optimizer
from core.training.photo_plan import PhotoPlan

__all__ = ["CIFAR10_INPUT", "Recipe"]

CIFAR10_INPUT = InputSpec(
    height=32,
    width=32,
    resize="squash",
    interpolation="bicubic",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
"""Native resolution of CIFAR-10, normalised by mean and standard deviation of its train pixels."""


@dataclass(frozen=True)
class Recipe:
    """Architecture, data, augmentation, optimisation and export settings of a model.

    Attributes:
        name: Name of the recipe and of the model; lower-case letters, digits, `_` and `-`.
        title: Display name.
        description: One or two sentences for the model card.
        family: Training family, as in config.json.
        build: Builds the network from its input shape and the number of classes; it returns logits.
        optimizer: Optimiser and its hyperparameters. A recipe with a `plan` takes its learning
            rates from there and needs an `AnchoredAdamW`.
        epochs: Maximum number of epochs.
        patience: Early stopping: number of epochs without a better validation accuracy after which
            the run ends.
        prepare: Sets weights before the first step, from (model, training rows, input, settings).
        pretrained_body: Convolutional base that starts from weights outside the package, see
            `core.training.networks.vgg16`.
        batch_size: Images per step; the last, incomplete batch of an epoch is dropped.
        label_smoothing: Fraction of the target distribution that is spread evenly, 0 to 1.
        crop_padding: Width in pixels of the reflected border that random crops are taken from.
        flip: Horizontal flips: independent in each epoch; or random in the first epoch and then in
            every other one, so that any two consecutive epochs show both sides of each image.
        cutout: Side of the square that is set to the mean of `input` at a random place, in pixels
            of a 32-pixel image; 0 for none.
        mixed_precision: Whether to compute in bfloat16, with float32 weights.
        side_schedule: Progressive resizing: pairs of the fraction of the epochs from which on, and
            the side of the images in pixels. Fractions rise from 0. Empty: the side of `input`
            throughout.
        tiny_imagenet: Whether to train on Tiny ImageNet's images of the same classes too.
        outliers_per_epoch: Number of Tiny ImageNet's images of other classes in an epoch; their
            target is the uniform distribution (outlier exposure).
        outlier_weight: Loss weight of such an image, relative to 1 for an image with a label.
        precision: Number format of the exported weights.
        plan: Training on real photos; None for a recipe without. `epochs`, `patience` and the sides
            of the images then follow from the plan.
        step_scales: Factors of the optimiser's steps by variable, from the plan's `stage_decay`,
            see `AnchoredAdamW.build`.
        build_head: Builds a head from the length of the layer `features` and the number of classes.
            It alone is trained, on frozen features of the plan's `feature_views`; its layers have
            the names that they have in the whole network.
        saliency: How evidence maps are computed, see `core.training.export.evidence_maps`.
        bundled: Whether the weights are stored among the models; otherwise only the metrics are.
        offered: Whether the page and the bot list the model, as in config.json.
        teachable: Whether classifiers of new classes are taught on the model, so that its folder
            gets an embedding space, fitted to the real photos of its `plan`.
        input: Input size, normalisation and resize rule of the served model.
        views: Test-time augmentations whose logits are averaged, as in config.json.
        license: Licence identifier of the Hub for the weights: the project's, or that of the
            weights that `prepare` sets. The weights of `pretrained_body` bring their own.
        notes: What to know when comparing the metrics; for the model card.
        reported: Metrics of the student report for its model of this name.
    """

    name: str
    title: str
    description: str
    family: Family
    build: Callable[[Shape, int], keras.Model]
    optimizer: Optimizer | AnchoredAdamW
    epochs: int
    patience: int
    prepare: Callable[[keras.Model, Split, InputSpec, Settings], None] | None = None
    pretrained_body: Literal["vgg16"] | None = None
    batch_size: int = 128
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: Literal["random", "alternating"] | None = None
    cutout: int = 0
    mixed_precision: bool = False
    side_schedule: tuple[tuple[float, int], ...] = ()
    tiny_imagenet: bool = False
    outliers_per_epoch: int = 0
    outlier_weight: float = 0.5
    precision: Precision = "float16"
    plan: PhotoPlan | None = None
    step_scales: Callable[[float], Mapping[str, NDArray[np.float32]]] | None = None
    build_head: Callable[[int, int], keras.Model] | None = None
    saliency: Literal["gradient", "occlusion", "activation"] = "gradient"
    bundled: bool = True
    offered: bool = True
    teachable: bool = False
    input: InputSpec = field(default=CIFAR10_INPUT)
    views: tuple[View, ...] = ("identity", "mirror")
    license: str = "mit"
    notes: str = ""
    reported: BaselineMetrics | None = None

    def __post_init__(self) -> None:
        """Reject combinations of settings that could not be trained.

        Raises:
            TrainingError: The side schedule does not rise from 0; or the plan contradicts another
                field, or is missing.
        """
        starts = [start for start, _ in self.side_schedule]
        if starts and (starts[0] != 0 or starts != sorted(starts)):
            raise TrainingError(
                f"The side schedule of {self.name} starts its sizes at the fractions {starts} of "
                "the epochs; they must rise from 0."
            )
        if self.plan is None:
            if self.teachable:
                raise TrainingError(
                    f"{self.name} needs a plan: its embedding space is fitted to real photos."
                )
            return
        if self.plan.epochs != self.epochs or self.plan.phases[-1].side != self.input.height:
            raise TrainingError(
                f"The plan of {self.name} must have {self.epochs} epochs and end with images of "
                f"{self.input.height} pixels; it has {self.plan.epochs} epochs and ends with "
                f"{self.plan.phases[-1].side} pixels."
            )
        if not isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"The plan of {self.name} needs the optimizer AnchoredAdamW.")
        if (self.plan.feature_views > 0) != (self.build_head is not None):
            raise TrainingError(
                f"{self.name} needs both build_head and feature_views to train a head on frozen "
                "features, or neither."
            )

    @property
    def anchored_optimizer(self) -> AnchoredAdamW:
        """Return the optimiser of a recipe with a plan.

        Raises:
            TrainingError: The recipe has no plan.
        """
        if not isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"{self.name} has no plan for real photos.")
        return self.optimizer

    @property
    def scheduled_optimizer(self) -> Optimizer:
        """Return the optimiser of a recipe without a plan, which has its own learning rates.

        Raises:
            TrainingError: The recipe has a plan.
        """
        if isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"{self.name} can only be trained with a plan for real photos.")
        return self.optimizer

    @property
    def input_shape(self) -> tuple[int | None, int | None, int]:
        """Return (height, width, channels) in training; None where the size changes."""
        if self.side_schedule or self.plan is not None:
            return (None, None, 3)
        return (self.input.height, self.input.width, 3)

    def side_at(self, epoch: int) -> int:
        """Return the side in pixels of the training images of an epoch, counted from 1."""
        if self.plan is not None:
            return self.plan.phase_at(epoch).side
        due = [side for start, side in self.side_schedule if (epoch - 1) / self.epochs >= start]
        return due[-1] if due else self.input.height

    def input_at(self, epoch: int) -> InputSpec:
        """Return how the images of an epoch, counted from 1, are resized and normalised."""
        if not self.side_schedule and self.plan is None:
            return self.input
        side = self.side_at(epoch)
        return self.input.model_copy(update={"height": side, "width": side})
