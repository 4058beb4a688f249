"""Recipes: everything that decides what a training run gives, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Family, Precision, View
from core.bundle.metrics import BaselineMetrics
from core.errors import ModelNotFoundError, TrainingError
from core.photos.preprocess import InputSpec, normalise
from core.settings import Settings
from core.training.data.datasets import Split
from core.training.networks import cnn, efficientnet
from core.training.networks.imagenet import load_mobilenet
from core.training.networks.optimizers import AdamW, AnchoredAdamW, LookaheadSGD, Optimizer
from core.training.networks.vgg16 import VGG16_INPUT
from core.training.photo_plan import Phase, PhotoPlan

__all__ = ["RECIPES", "VGG16", "Recipe", "get_recipe"]

VGG16 = "vgg16"
"""What `tensight train` calls the weights that `transfer` and `finetuned` begin with."""

# Mean and standard deviation of CIFAR-10's training pixels.
_CIFAR10_INPUT = InputSpec(
    height=32,
    width=32,
    resize="squash",
    interpolation="bicubic",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)


_MOBILENET_INPUT = InputSpec(
    height=160,
    width=160,
    resize="squash",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


_VGG16_INPUT = VGG16_INPUT.model_copy(update={"height": 64, "width": 64})


@dataclass(frozen=True)
class Recipe:
    """One way to train a model.

    Attributes:
        name: Name of the recipe and of the model.
        title: What a person reads.
        description: One or two sentences for the card.
        family: As in config.json.
        build: (input shape, number of classes) -> Keras model that gives logits.
        prepare: (model, rows to learn from, input, settings) -> None; sets weights before the first
            step.
        body: Part of the network that begins with weights which another command left in
            TENSIGHT_HOME.
        input: The model's input.
        optimizer: Makes the steps; with a plan, which has the learning rates, an `AnchoredAdamW`.
        epochs: Most epochs.
        patience: Epochs without a better validation accuracy after which the run ends.
        batch_size: Images a step; an incomplete last batch is dropped.
        label_smoothing: 0 to 1.
        crop_padding: Pixels of reflected border from which random crops are cut.
        flip: Whether images are mirrored: each time at random; or at random once, and then every
            other epoch (so that two epochs show both sides of each).
        cutout: Side of a square, at a random place, that is set to the mean of `input`, in pixels
            of an image of 32; 0 for none.
        mixed_precision: Whether the network computes in bfloat16; its weights are float32.
        precision: Number format of the weights that are served.
        sides: For training on smaller images first: pairs of the share of epochs from which on,
            rising from 0, and the side in pixels; none: always the side of `input`.
        photos: Whether Tiny ImageNet's images of the same classes are learned from too.
        outliers: How many of Tiny ImageNet's images of other classes an epoch takes, for which no
            class shall be likelier than another.
        outlier_weight: Of such an image; others have 1.
        license: The Hub's name for the licence of the weights: the project's, or that of those that
            `prepare` sets. (Weights of `body` bring their own.)
        plan: How it learns from real photos; None: it does not. With a plan, `epochs`, `patience`
            and the sides follow from it.
        scales: Factor from stage to stage -> factors of the optimizer's steps, see
            `AnchoredAdamW.build`.
        head: (length of the layer `features`, number of classes) -> the rest of the network, of
            layers with the same names; where that alone learns, from the plan's `views`.
        maps: How the evidence for each class at each place is found, see `export`.
        bundled: Whether its weights are kept among the models; of others only the figures are.
        offered: As in config.json.
        notes: What a reader of its figures should know; for the card.
        views: What is averaged at test time, as in config.json.
        reported: Figures of the student report for its model of this name.
    """

    name: str
    title: str
    description: str
    family: Family
    build: Callable[[cnn.Shape, int], keras.Model]
    optimizer: Optimizer | AnchoredAdamW
    epochs: int
    patience: int
    prepare: Callable[[keras.Model, Split, InputSpec, Settings], None] | None = None
    body: Literal["vgg16"] | None = None
    batch_size: int = 128
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: Literal["random", "alternating"] | None = None
    cutout: int = 0
    mixed_precision: bool = False
    sides: tuple[tuple[float, int], ...] = ()
    photos: bool = False
    outliers: int = 0
    outlier_weight: float = 0.5
    precision: Precision = "float16"
    plan: PhotoPlan | None = None
    scales: Callable[[float], Mapping[str, NDArray[np.float32]]] | None = None
    head: Callable[[int, int], keras.Model] | None = None
    maps: Literal["gradient", "occlusion", "activation"] = "gradient"
    bundled: bool = True
    offered: bool = True
    input: InputSpec = field(default=_CIFAR10_INPUT)
    views: tuple[View, ...] = ("identity", "mirror")
    license: str = "mit"
    notes: str = ""
    reported: BaselineMetrics | None = None

    def __post_init__(self) -> None:
        """Check what would otherwise go wrong without a word."""
        shares = [share for share, _ in self.sides]
        if shares and (shares[0] != 0 or shares != sorted(shares)):
            raise TrainingError(
                f"The sides of {self.name} begin at the shares {shares} of its epochs; they must "
                "rise from 0."
            )
        if self.plan is None:
            return
        if self.plan.epochs != self.epochs or self.plan.phases[-1].side != self.input.height:
            raise TrainingError(
                f"The plan of {self.name} must have {self.epochs} epochs, and end with images of "
                f"{self.input.height} pixels."
            )
        if not isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"The plan of {self.name} needs the optimizer AnchoredAdamW.")
        if (self.plan.views > 0) != (self.head is not None):
            raise TrainingError(
                f"{self.name} needs both a head and views for it to learn from, or neither."
            )

    @property
    def anchored(self) -> AnchoredAdamW:
        """Return the optimizer of a recipe that has a plan.

        Raises:
            TrainingError: It has none.
        """
        if not isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"{self.name} has no plan for real photos.")
        return self.optimizer

    @property
    def scheduled(self) -> Optimizer:
        """Return the optimizer of a recipe without a plan, which has its own learning rates.

        Raises:
            TrainingError: The recipe has a plan, or needs one.
        """
        if isinstance(self.optimizer, AnchoredAdamW):
            raise TrainingError(f"{self.name} can only be trained by a plan with real photos.")
        return self.optimizer

    @property
    def shape(self) -> tuple[int | None, int | None, int]:
        """Of the images that are learned from: (height, width, channels); None: it changes."""
        if self.sides or self.plan is not None:
            return (None, None, 3)
        return (self.input.height, self.input.width, 3)

    def side(self, epoch: int) -> int:
        """Side in pixels of the images of an epoch, the first being 1."""
        if self.plan is not None:
            return self.plan.phase(epoch).side
        due = [side for share, side in self.sides if (epoch - 1) / self.epochs >= share]
        return due[-1] if due else self.input.height

    def seen(self, epoch: int) -> InputSpec:
        """How the images of an epoch are brought to their size."""
        if not self.sides and self.plan is None:
            return self.input
        side = self.side(epoch)
        return self.input.model_copy(update={"height": side, "width": side})


def _whiten(model: keras.Model, learn: Split, spec: InputSpec, settings: Settings) -> None:
    del settings
    cnn.whiten(model, normalise(learn.images[:5000], spec))


def _imagenet(model: keras.Model, learn: Split, spec: InputSpec, settings: Settings) -> None:
    del learn, spec
    load_mobilenet(model, settings)


def _lite2(model: keras.Model, learn: Split, spec: InputSpec, settings: Settings) -> None:
    del learn, spec, settings
    efficientnet.load_imagenet(model, efficientnet.read_imagenet())


def _lite2_scales(per_stage: float) -> Mapping[str, NDArray[np.float32]]:
    return efficientnet.step_scales(efficientnet.read_imagenet(), per_stage)


_SEEN_BEFORE = (
    "Some of the things of other classes that it is measured on it may know: MobileNetV2's "
    "ImageNet weights, {how}, saw them with their labels. And among the photos that show none of "
    "the labels some show things of the classes that it learned to be unsure of."
)
# About 65 minutes on two cores, which learn from 226, 135 and 60 images a second at these sides.
# The export, the choice of the weights and the evaluation take a quarter of an hour more.
_PHOTO_PLAN = PhotoPlan(
    phases=(
        Phase(3, 96, 45_000, peak=4e-4, last=1e-4),
        Phase(4, 128, 45_000, peak=2.5e-4, last=2.5e-5),
        Phase(2, 192, 18_000, peak=1e-4, last=1e-5),
    ),
    frozen=("stem", *(f"block{i}" for i in range(7))),
    near_kinds=(
        *("bear", "bison", "bus", "cheetah", "cougar", "cougar_body", "cougar_face", "cow", "fox"),
        *("gaur", "giraffe", "iguana-iguana", "jaguar", "lion", "llama", "motorcycle", "okapi"),
        *("rhino", "scene", "sheep", "tapirus", "tiger", "wild_boar", "wolf", "zebra"),
        *("correlophus-ciliatus", "cryptoprocta-ferox", "desmodus-rotundus", "eidolon-helvum"),
        *("heloderma-suspectum", "martes-americana", "ursus-arctos-horribilis"),
        "ursus-maritimus",
    ),
)
_EFFICIENTNET = Recipe(
    name="efficientnet",
    title="EfficientNet-Lite2",
    description="EfficientNet-Lite2 from ImageNet weights, fine-tuned on CIFAR-10 and on real "
    "photos of the same classes and of other things.",
    family="finetuned",
    build=efficientnet.efficientnet,
    prepare=_lite2,
    scales=_lite2_scales,
    input=InputSpec(
        height=192,
        width=192,
        resize="squash",
        interpolation="bicubic",
        mean=efficientnet.MEAN,
        std=efficientnet.STD,
    ),
    # The average reaches back over about 250 steps: less than the last phase, which has 750.
    optimizer=AnchoredAdamW(anchor=0.05, average=0.996, clip_norm=1.0),
    plan=_PHOTO_PLAN,
    epochs=_PHOTO_PLAN.epochs,
    patience=_PHOTO_PLAN.epochs,
    batch_size=64,
    label_smoothing=0.05,
    crop_padding=4,
    flip="random",
    # Two views would take more than 12 ms a photo on two cores.
    views=("identity",),
    precision="float16",
    maps="activation",
    license="apache-2.0",
    notes="It began with the ImageNet weights of EfficientNet-Lite2 as Google published them, so "
    "it may have seen some of the photos that it is measured on, and other things of the same "
    "kinds. The real photos come from public repositories and may not be passed on, so this "
    "training cannot be repeated exactly.",
)
# About 25 minutes on two cores: the same phases with fewer rows.
_UNSEEN_PLAN = replace(
    _PHOTO_PLAN,
    phases=(
        Phase(1, 96, 45_000, peak=4e-4, last=1e-4),
        Phase(2, 128, 27_000, peak=2.5e-4, last=2.5e-5),
        Phase(1, 192, 15_000, peak=1e-4, last=1e-5),
    ),
    left_out=(
        "Ezaaan/IF4073-Vehicle-Recognition",
        "MachineLearning2020/Homework2-Caltech101",
        "SrikanthVelpuri/Classification-of-Cats-Dogs-Horses-Humans",
        "UgisarAB/Learn_p",
        "huaqingji/Natural-Images-Processing-And-Classification",
        "jabrayil-alizada/Animals-dataset",
        "yahyasarhan22/comparative-study-of-image-classification",
    ),
)

# Measured once on two cores: 80 images a second at 64 pixels where VGG16 is held fast, and fewer
# than 30 where it learns.
_TRANSFER_PLAN = PhotoPlan(
    phases=(Phase(20, 64, 45_000, peak=1e-3, last=1e-5),),
    views=4,
    near_kinds=_PHOTO_PLAN.near_kinds,
)
_FINETUNED_PLAN = PhotoPlan(
    phases=(
        Phase(2, 48, 45_000, peak=1e-4, last=3e-5),
        Phase(1, 64, 45_000, peak=5e-5, last=5e-6),
    ),
    frozen=("block1", "block2"),
    per_stage=0.7,
    near_kinds=_PHOTO_PLAN.near_kinds,
)
_BLOCK5_PLAN = replace(_FINETUNED_PLAN, frozen=("block1", "block2", "block3", "block4"))
_FROM_IMAGENET = (
    "It began with VGG16's ImageNet weights, which were learned from photos of other things of the "
    "same kinds as some that it is measured on. The real photos come from public repositories and "
    "may not be passed on, so this training cannot be repeated exactly."
)
_FINETUNED = Recipe(
    name="finetuned",
    title="VGG16, fine-tuned",
    description="VGG16 from ImageNet weights, of which the last three blocks learned on from "
    "CIFAR-10 and from real photos of the same classes and of other things.",
    family="finetuned",
    build=cnn.finetuned,
    body="vgg16",
    scales=cnn.vgg16_scales,
    input=_VGG16_INPUT,
    # Without an anchor it is Adam.
    optimizer=AnchoredAdamW(anchor=0.0, average=0.996, clip_norm=1.0),
    plan=_FINETUNED_PLAN,
    epochs=_FINETUNED_PLAN.epochs,
    patience=_FINETUNED_PLAN.epochs,
    batch_size=64,
    label_smoothing=0.05,
    crop_padding=4,
    flip="random",
    precision="int8",
    maps="occlusion",
    notes=_FROM_IMAGENET,
    reported=BaselineMetrics(accuracy=0.7979, precision=0.8047, recall=0.7979, f1=0.7987),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="baseline",
            title="Baseline CNN",
            description="Two convolutions and two dense layers, the first network of the student "
            "report; trained longer, on mirrored and shifted images.",
            family="scratch",
            build=cnn.baseline,
            epochs=30,
            patience=10,
            optimizer=AdamW(1e-3, weight_decay=1e-3),
            crop_padding=2,
            flip="random",
            precision="int8",
            maps="occlusion",
            offered=False,
            reported=BaselineMetrics(accuracy=0.6527, precision=0.6785, recall=0.6527, f1=0.6541),
        ),
        Recipe(
            name="classic",
            title="Classic CNN",
            description="Three convolutions with batch norm and dropout, the report's best network "
            "from scratch; trained longer, on mirrored and shifted images.",
            family="scratch",
            build=cnn.classic,
            epochs=100,
            patience=20,
            optimizer=AdamW(2e-3, weight_decay=1e-3),
            crop_padding=2,
            flip="random",
            precision="int8",
            offered=False,
            reported=BaselineMetrics(accuracy=0.7446, precision=0.7518, recall=0.7446, f1=0.7467),
        ),
        Recipe(
            name="scratch",
            title="Airbench CNN",
            description="Nine convolutions after a whitening layer, trained from nothing on "
            "CIFAR-10 alone, after airbench.",
            family="scratch",
            build=cnn.scratch,
            prepare=_whiten,
            optimizer=LookaheadSGD(
                learning_rate=1.17,
                momentum=0.85,
                l2=1.33e-3,
                bias_factor=64,
                warm_up=0.1,
                first=0.2,
                last=0.0,
            ),
            epochs=24,
            patience=24,
            batch_size=1024,
            label_smoothing=0.2,
            crop_padding=4,
            flip="alternating",
            cutout=12,
            mixed_precision=True,
            precision="int8",
            maps="occlusion",
        ),
        Recipe(
            name="mobilenet",
            title="MobileNetV2",
            description="MobileNetV2 from ImageNet weights, fine-tuned as a whole on CIFAR-10 "
            "enlarged, on Tiny ImageNet's photos of the same classes, and, so that it knows what "
            "it does not know, on Tiny ImageNet's photos of other things.",
            family="finetuned",
            build=cnn.mobilenet,
            prepare=_imagenet,
            input=_MOBILENET_INPUT,
            optimizer=AdamW(4e-4, weight_decay=0.02, warm_up=0.05),
            epochs=16,
            patience=16,
            label_smoothing=0.1,
            crop_padding=4,
            flip="random",
            cutout=8,
            sides=((0.0, 96), (0.7, 128), (0.9, 160)),
            photos=True,
            outliers=8_000,
            precision="float16",
            license="apache-2.0",
            notes="The ImageNet weights are those of MobileNetV2 1.0 as Google published them. "
            + _SEEN_BEFORE.format(how="with which it began")
            + " The sharper images, too, come from ImageNet, so its accuracy on them is better "
            "than it would be on new ones.",
        ),
        _EFFICIENTNET,
        replace(
            _EFFICIENTNET,
            name="efficientnet-unseen",
            title="EfficientNet-Lite2, sources left out",
            description="As `efficientnet`, in a shorter run, but seven sources of photos were "
            "left out of training and choosing, to measure it on photos of sources that it never "
            "saw.",
            plan=_UNSEEN_PLAN,
            epochs=_UNSEEN_PLAN.epochs,
            patience=_UNSEEN_PLAN.epochs,
            bundled=False,
        ),
        Recipe(
            name="transfer",
            title="VGG16, transferred",
            description="VGG16 with its ImageNet weights, held fast, with a new head that learned "
            "CIFAR-10 and real photos of the same classes and of other things.",
            family="transfer",
            build=cnn.transfer,
            head=cnn.transfer_head,
            body="vgg16",
            input=_VGG16_INPUT,
            optimizer=AnchoredAdamW(anchor=0.0, average=0.998, clip_norm=1.0),
            plan=_TRANSFER_PLAN,
            epochs=_TRANSFER_PLAN.epochs,
            patience=_TRANSFER_PLAN.epochs,
            batch_size=128,
            label_smoothing=0.05,
            crop_padding=4,
            flip="random",
            precision="int8",
            maps="occlusion",
            notes=_FROM_IMAGENET,
            reported=BaselineMetrics(accuracy=0.6096, precision=0.6099, recall=0.6096, f1=0.6065),
        ),
        _FINETUNED,
        replace(
            _FINETUNED,
            name="finetuned-adamw",
            title="VGG16, fine-tuned with AdamW",
            description="As `finetuned`, but weights decay towards those of ImageNet.",
            optimizer=AnchoredAdamW(anchor=0.05, average=0.996, clip_norm=1.0),
            bundled=False,
            reported=BaselineMetrics(accuracy=0.7704, precision=0.7813, recall=0.7704, f1=0.7715),
        ),
        replace(
            _FINETUNED,
            name="finetuned-block5",
            title="VGG16, the last block fine-tuned",
            description="As `finetuned`, but the last block alone learned on: what the report set "
            "out to do, though its code trained every layer.",
            plan=_BLOCK5_PLAN,
            bundled=False,
            reported=None,
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Find a recipe by name.

    Raises:
        ModelNotFoundError: No recipe of that name; the message lists them.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise ModelNotFoundError(
            f"There is no recipe {name!r}. Recipes: {', '.join(sorted(RECIPES))}; and {VGG16}, the "
            "weights that some begin with."
        ) from None
